"""`fifteen export`."""

import io
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

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
    """Return a line for each point, with all digits: pandas writes 15 of them, and no infinity."""
    # NaN stands for what is missing in a field of numbers, and for itself in one of mixed values.
    may_be_nan = (frame.dtypes.map(str) == "object") | (frame.columns == "value")
    plain = frame.astype(object).where(frame.notna() | may_be_nan, None)
    columns = [_texts(plain[name].tolist()) for name in frame]
    keys = [to_json(name).replace("%", "%%") for name in frame]
    line = "{" + ", ".join(f"{key}: %s" for key in keys) + "}\n"
    return ((line % row).encode() for row in zip(*columns, strict=True))


def _texts(values: list[Any]) -> list[str]:
    """Return the values of a column as JSON: each value once, and numbers all at once."""
    if values and {*map(type, values)} <= {int, float, bool, type(None)}:
        return to_json(values)[1:-1].split(", ")
    # The points of a curve share their values.
    texts = {key: to_json(value) for key, value in {id(value): value for value in values}.items()}
    return [texts[id(value)] for value in values]


def _uniform(frame: "pandas.DataFrame") -> "pandas.DataFrame":
    """Write objects as text, since a column of Parquet has values of one kind."""
    odd = [name for name in frame if frame[name].dtype == object]
    return frame.assign(
        **{name: [None if value is None else str(value) for value in frame[name]] for name in odd}
    )
