"""`fifteen view` and `fifteen report`."""

import contextlib
import os
import pathlib
import webbrowser
from typing import Annotated

from tyro.conf import arg

from fifteen._text import counted, printable
from fifteen.view._board import Board
from fifteen.view._columns import show_bytes
from fifteen.view._report import report as render
from fifteen.view._server import Server

from ._arguments import Flag, check_output
from ._errors import CommandError, print_problems
from ._selection import Chosen, Selection, find_all


def view(
    selection: Chosen = Selection(),
    port: Annotated[int, arg(metavar="PORT", help_behavior_hint="")] = 0,
    open: Flag = False,
) -> None:
    """Show experiments in the browser, live: a table, and the curves of the chosen ones.

    Nothing is written, and only this page on this machine can read it. Ctrl-C ends it.

    Args:
        port: where to listen; a free port by default.
        open: open the page in the browser.
    """
    if not 0 <= port < 1 << 16:
        raise CommandError(f"--port: expected 0 to 65535, found {port}")
    # A mistake is reported now, and not in the page.
    count = counted(len(selection.find()), "experiment")
    board = Board(lambda: find_all(selection.roots), selection.choose, _title_of(selection))
    try:
        server = Server(board, port)
    except OSError as error:
        message = f"--port: {port} cannot be used: {error.strerror}; leave it out for a free one"
        raise CommandError(message) from None
    print(printable(f"{count} below {selection}: {server.address}"), flush=True)
    if open:
        webbrowser.open(server.address)
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


def report(
    selection: Chosen = Selection(),
    output: Annotated[pathlib.Path, arg(metavar="FILE")] = pathlib.Path("report.html"),
) -> int:
    """Write the page that `view` shows as one file, which needs no server and no network.

    Args:
        output: the .html to write.
    """
    check_output(output, ".html", ".htm")
    found = selection.find_some()
    text = render(found, _title_of(selection)).encode()
    output.write_bytes(text)
    count = counted(len(found), "experiment")
    print(printable(f"Wrote {output}: {count}, {show_bytes(len(text))}"))
    return int(print_problems(found.fields))


def _title_of(selection: Selection) -> str:
    names = (os.path.basename(os.path.abspath(root)) for root in selection.roots or ("",))
    return " ".join(names)
