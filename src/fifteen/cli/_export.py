"""`fifteen export`."""

import io
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from fifteen._text import counted, printable
from fifteen.experiments._errors import import_extra
from fifteen.experiments._names import matching
from fifteen.experiments.storage import Directory

from ._arguments import Names, check_output
from ._errors import print_problems
from ._selection import Chosen, Selection
from ._table import to_json

if TYPE_CHECKING:
    import pandas


def export(
    output: Annotated[pathlib.Path, arg(metavar="FILE", help_behavior_hint="")],
    selection: Chosen = Selection(),
    tags: Names = (),
) -> int:
    """Write every logged point of many experiments to one table.

    Its columns are the experiment's name, the fields that differ, tag, step, time and value.

    Args:
        output: a .parquet, .csv or .json (an object per line) to write; one that is there is
            replaced.
        tags: which scalars, by their tags; `*` matches any text. All by default.
    """
    check_output(output, ".parquet", ".csv", ".json")
    suffix = output.suffix.lower()
    found = selection.find_some()
    if tags:  # Report a mistake rather than write a table without points.
        matching(tags, (tag for field in found.fields for tag in field.scalars), "scalar")
    frame = found.scalars(list(tags) or None)
    buffer = io.BytesIO()
    if suffix == ".csv":
        frame.to_csv(buffer, index=False)
    elif suffix == ".json":
        buffer.writelines(_as_json(frame))
    else:
        import_extra("pyarrow", "export to Parquet", "pandas")
        _uniform(frame).to_parquet(buffer, index=False)
    with Directory(output.absolute().parent).replace(output.name) as file:
        file.write(buffer.getbuffer())
    print(printable(f"Wrote {counted(len(frame), 'point')} to {output}"))
    return int(print_problems(found.fields))


def _as_json(frame: "pandas.DataFrame") -> Iterator[bytes]:
    """Yield a line for each point, with all digits: pandas writes 15 of them, and no infinity."""
    # NaN stands for what is missing in a field of numbers, and for itself in one of mixed values.
    may_be_nan = (frame.dtypes.map(str) == "object") | (frame.columns == "value")
    known = frame.notna() | may_be_nan
    for row in frame.astype(object).where(known, None).itertuples(index=False, name=None):
        yield f"{to_json(dict(zip(frame, row, strict=True)))}\n".encode()


def _uniform(frame: "pandas.DataFrame") -> "pandas.DataFrame":
    """Write objects as text, since a column of Parquet has values of one kind."""
    odd = [name for name in frame if frame[name].dtype == object]
    return frame.assign(
        **{name: [None if value is None else str(value) for value in frame[name]] for name in odd}
    )
