"""`fifteen export`."""

import io
import pathlib
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from fifteen._text import printable
from fifteen.experiments._extras import import_extra
from fifteen.experiments.storage import Directory

from ._arguments import Chosen, Names, check_output
from ._selection import Selection

if TYPE_CHECKING:
    import pandas


def export(
    output: Annotated[pathlib.Path, arg(metavar="FILE", help_behavior_hint="")],
    selection: Chosen = Selection(),  # noqa: B008  # It is frozen.
    tags: Names = (),
) -> None:
    """Write every logged point of many experiments to one table.

    Its columns are the experiment's name, the fields that differ, tag, step, time and value.

    Args:
        output: a .parquet, .csv or .json (an object per line) to write; one that is there is
            replaced.
        selection: which experiments.
        tags: which scalars, by their tags; `*` stands for anything. All by default.
    """
    check_output(output, ".parquet", ".csv", ".json")
    suffix = output.suffix.lower()
    frame = selection.find_some().scalars(list(tags) or None)
    buffer = io.BytesIO()
    if suffix == ".csv":
        frame.to_csv(buffer, index=False)
    elif suffix == ".json":
        frame.to_json(buffer, orient="records", lines=True, double_precision=15)
    else:
        import_extra("pyarrow", "export to Parquet", "pandas")
        _uniform(frame).to_parquet(buffer, index=False)
    with Directory(output.absolute().parent).replace(output.name) as file:
        file.write(buffer.getbuffer())
    print(printable(f"Wrote {len(frame):,} points to {output}"))


def _uniform(frame: "pandas.DataFrame") -> "pandas.DataFrame":
    """Write what is no number as text, since a column of Parquet has values of one kind."""
    odd = [name for name in frame if frame[name].dtype == object]
    return frame.assign(**{name: [_text(value) for value in frame[name]] for name in odd})


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
