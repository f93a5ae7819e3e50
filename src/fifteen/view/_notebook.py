"""What a notebook shows of an experiment, a card, and of many, a table that can be sorted."""

import html
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fifteen._text import counted, printable
from fifteen.experiments._console import quiet
from fifteen.experiments._errors import MissingExtraError, import_extra
from fifteen.experiments._fields import NOTES, PROVENANCE, Fields
from fifteen.experiments._missing import UNREADABLE, Missing
from fifteen.experiments._names import enumerate_names
from fifteen.experiments._values import in_order

from ._columns import (
    Column,
    best_of,
    most_informative,
    overview,
    show_bytes,
    show_pace,
    show_rows,
    show_value,
)
from ._figure import framed
from ._page import asset

if TYPE_CHECKING:
    from fifteen.experiments import Experiment, Experiments
    from fifteen.experiments.events.reading import EventReader

_MAX_ROWS = 300
_MAX_LINES = 40
_MAX_FILES = 12
_MAX_CURVES = 6
_MAX_STEPS = 10
_MAX_TEXT = 200

_COLORS = {"running": "#3b82f6", "finished": "#2e9e5b", "unknown": "#8b8b8b"}
_ALARM = "#e5484d"


def card(experiment: "Experiment", open_reader: Callable[[], "EventReader"]) -> str:
    """Return what a notebook shows of an experiment; never raises."""
    fields = Fields(experiment.data_dir, experiment.data_dir.name)
    # First of all: it writes what is still waiting to be written.
    curves = _part(_curves, open_reader)
    parts = [_part(render, fields) for render in (_heading, _metadata, _checkpoints)]
    return _block(*parts, curves, *map(_problem, fields.problems))


def table(experiments: "Experiments") -> str:
    """Return what a notebook shows of experiments; never raises."""
    shown = experiments[:_MAX_ROWS]
    count = counted(len(experiments), "experiment")
    if len(shown) < len(experiments):
        count += f", the first {len(shown)} of them here: where() and sort() choose others"
    rows = _part(_rows, shown) if shown else ""
    problems = dict.fromkeys(problem for field in shown.fields for problem in field.problems)
    return _block(_text(count), rows, *map(_problem, list(problems)[:_MAX_LINES]))


def _block(*parts: str) -> str:
    return f'<div class="fifteen"><style>{asset("notebook.css")}</style>{"".join(parts)}</div>'


def _part(render: Callable[..., str], *arguments: Any) -> str:
    try:
        return render(*arguments)
    except Exception as error:  # A notebook shows the rest, whatever happens here.
        return _problem(f"{error}" or type(error).__name__)


def _problem(text: str) -> str:
    return f'<div class="bad">{_text(text)}</div>'


def _text(text: str) -> str:
    short = text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"
    return html.escape(printable(short))


def _rows(experiments: "Experiments") -> str:
    columns, rows = overview(experiments, (), most_informative(experiments)[0])
    values, texts = zip(*rows, strict=True), zip(*show_rows(columns, rows), strict=True)
    cells = map(_column, columns, values, texts)
    head, *lines = ["<tr>" + "".join(line) + "</tr>" for line in zip(*cells, strict=True)]
    return (
        f'<div class="scroll"><table><thead onclick="{html.escape(asset("notebook.js"))}">{head}'
        f"</thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _column(column: Column, values: Sequence[Any], texts: Sequence[str]) -> list[str]:
    """Return the heading and the cells, each of which knows its place in the order of values."""
    own = ' class="number"' * column.is_number
    cells = [f"<th{own}><button>{_text(column.name)}</button></th>"]
    places = {number: place for place, number in enumerate(in_order(values)[0], 1)}
    for number, (value, text) in enumerate(zip(values, texts, strict=True)):
        kind = ' class="bad"' if value is UNREADABLE else own
        place = f" data-place={places[number]}" if number in places else ""
        is_best = column.best is not None and text.endswith("*")
        shown = f"<b>{_text(text[:-1])}</b>" if is_best else _text(text.rstrip())
        cells.append(f"<td{kind}{place}>{shown}</td>")
    return cells


def _heading(fields: Fields) -> str:
    status, summary = fields.status, fields.summary
    facts = [] if summary is None else [show_bytes(summary.size)]
    if summary is not None and summary.latest_step is not None:
        facts.insert(0, f"step {summary.latest_step:,}")
    facts += show_pace(fields)
    dot = f'<span style="color:{_COLORS.get(status.state, _ALARM)}">●</span>'
    state = f"<b>{_text(fields.name)}</b> &ensp;{dot} {_text(str(status))}"
    lines = [state, *map(_text, (", ".join(facts), str(fields.path)))]
    note, tags = fields.value("note"), fields.value("tags")
    notes = {"note": "" if isinstance(note, Missing) else note, "tags": ", ".join(map(str, tags))}
    shown = [pair for pair in notes.items() if pair[1]]
    return "<br>".join(filter(None, lines)) + _pairs(shown)


def _metadata(fields: Fields) -> str:
    names = [name for name in fields.metadata_names if name != NOTES]
    shown = [_part(_file, fields, name) for name in names[:_MAX_FILES]]
    return "".join(shown) + _more(names[_MAX_FILES:])


def _file(fields: Fields, name: str) -> str:
    pairs = [(k.removeprefix(f"{name}."), v) for k, v in fields.metadata([name]).items()]
    if name in fields.unreadable:
        return _problem(f"{name}.yaml cannot be read")
    more = _more([key for key, _ in pairs[_MAX_LINES:]])
    state = "" if name == PROVENANCE else " open"
    summary = f"<summary>{_text(name)}</summary>"
    return f"<details{state}>{summary}{_pairs(pairs[:_MAX_LINES])}{more}</details>"


def _checkpoints(fields: Fields) -> str:
    found = fields.summary.checkpoints if fields.summary else {}
    pairs = [
        (prefix, "… " * (len(steps) > _MAX_STEPS) + ", ".join(map(str, steps[-_MAX_STEPS:])))
        for prefix, steps in list(found.items())[:_MAX_LINES]
    ]
    summary = "<summary>checkpoints</summary>"
    return f"<details open>{summary}{_pairs(pairs)}</details>" if pairs else ""


def _curves(open_reader: Callable[[], "EventReader"]) -> str:
    reader = open_reader()
    with quiet():
        scalars = reader.scalars()
    tags = sorted(scalars, key=lambda tag: (not best_of(tag), tag))
    first, more = tags[:_MAX_CURVES], _more(tags[_MAX_CURVES:])
    more += "".join(map(_problem, reader.problems.values()))
    last = {tag: float(scalars[tag].value[-1]) for tag in first}
    try:
        import_extra("matplotlib", "drawing a curve", "plot")
    except MissingExtraError as error:
        return _pairs(list(last.items())) + more + f"<div>{_text(str(error))}</div>"
    return (
        "".join(framed(f"{tag[:_MAX_TEXT]}  {last[tag]:.6g}", scalars[tag]) for tag in first) + more
    )


def _pairs(pairs: Sequence[tuple[str, Any]]) -> str:
    rows = [
        f"<tr><td>{_text(key)}</td><td>{_text(show_value(value))}</td></tr>" for key, value in pairs
    ]
    return f"<table><tbody>{''.join(rows)}</tbody></table>" if rows else ""


def _more(names: Sequence[str]) -> str:
    return f"<div>and {_text(enumerate_names(names))}</div>" if names else ""
