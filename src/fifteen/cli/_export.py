"""`fifteen export`."""

import io
import json
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from fifteen._text import printable
from fifteen.experiments._extras import import_extra
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
        selection: which experiments.
        tags: which scalars, by their tags; `*` matches any text. All by default.
    """
    check_output(output, ".parquet", ".csv", ".json")
    suffix = output.suffix.lower()
    found = selection.find_some()
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
    print(printable(f"Wrote {len(frame):,} points to {output}"))
    return int(print_problems(found.fields))


def _as_json(frame: "pandas.DataFrame") -> Iterator[bytes]:
    """Yield a line for each point, with all digits: pandas writes 15 of them, and no infinity."""
    columns = [_texts(values, "NaN" if name == "value" else None) for name, values in frame.items()]
    keys = (to_json(name).replace("%", "%%") for name in frame)
    line = "{" + ", ".join(f"{key}: %s" for key in keys) + "}\n"
    return ((line % row).encode() for row in zip(*columns, strict=True))


def _texts(values: "pandas.Series", nan: str | None) -> list[str]:
    """Return the values of a column as JSON; in a field, NaN stands for what is missing."""
    plain = values.tolist()
    if values.dtype.kind in "iufb" and plain:
        named = {name: f'"{name}"' for name in ("Infinity", "-Infinity")} | {"NaN": to_json(nan)}
        return [named.get(text, text) for text in json.dumps(plain)[1:-1].split(", ")]
    if values.dtype != object:
        plain = [value if isinstance(value, str) else None for value in plain]
    # The points of a curve share their values.
    known = {id(value): to_json(value) for value in plain}
    return [known[id(value)] for value in plain]


def _uniform(frame: "pandas.DataFrame") -> "pandas.DataFrame":
    """Write objects as text, since a column of Parquet has values of one kind."""
    odd = [name for name in frame if frame[name].dtype == object]
    return frame.assign(
        **{name: [None if value is None else str(value) for value in frame[name]] for name in odd}
    )
