"""`fifteen report`."""

import pathlib
from typing import Annotated

from tyro.conf import arg

from fifteen._text import printable
from fifteen.view._columns import show_bytes

from ._arguments import check_output
from ._errors import print_problems
from ._selection import Chosen, Selection
from ._view import title_of


def report(
    selection: Chosen = Selection(),
    output: Annotated[pathlib.Path, arg(metavar="FILE")] = pathlib.Path("report.html"),
) -> int:
    """Write the page that `view` shows as one file, which needs no server and no network.

    Args:
        selection: the experiments.
        output: the .html to write.
    """
    from fifteen.view._report import report as render

    check_output(output, ".html", ".htm")
    found = selection.find_some()
    text = render(found, title_of(selection)).encode()
    output.write_bytes(text)
    print(printable(f"Wrote {output}: {len(found)} experiments, {show_bytes(len(text))}"))
    return int(print_problems(found.fields))
