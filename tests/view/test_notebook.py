"""HTML outputs of a real notebook, shown in headless Chromium."""

import math
import os
import pathlib
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest

from fifteen.experiments import (
    Experiment,
    Experiments,
    ExperimentWarning,
    ScalarSeries,
    TensorboardLogData,
    find_experiments,
)

from .test_page import browser as browser
from .test_page import open_page as open_page
from .test_page import pytestmark as needs_browser

SCHEMES = {
    "light": "background: #ffffff; color: #222222; color-scheme: light",
    "dark": "background: #111111; color: #d8d8d8; color-scheme: dark",
}
JUPYTER = """<style>
.jp-RenderedHTMLCommon table { table-layout: fixed; margin: 0 auto 1em; font-size: 12px; }
.jp-RenderedHTMLCommon td, .jp-RenderedHTMLCommon th { vertical-align: middle; padding: 0.5em; }
:not(.jp-RenderedMarkdown).jp-RenderedHTMLCommon td,
:not(.jp-RenderedMarkdown).jp-RenderedHTMLCommon th { text-align: right; }
</style>"""
"""What JupyterLab makes of tables that say nothing else."""
HOSTILE = "<script>document.title='run'</script><b onmouseover=alert(1)>\"'&amp;\x1b[31m\u202e日"


def cells_of(html):
    return re.findall(r"<td[^>]*>(.*?)</td>", html)


@pytest.fixture
def found(sweep):
    Experiment(sweep / "lr0.1_1", verbose=False).annotate(note="the best <b>", tags=["paper"])
    return find_experiments(sweep)


@pytest.fixture
def show(open_page, tmp_path):
    """Open HTML as a notebook does."""

    def open_html(html, scheme="light"):
        page = tmp_path / f"{scheme}.html"
        page.write_text(
            f'<!doctype html><html data-ready><meta charset="utf-8">{JUPYTER}'
            f'<body class="jp-RenderedHTMLCommon" style="{SCHEMES[scheme]}">{html}'
        )
        return open_page(page.as_uri(), viewport={"width": 1000, "height": 700})

    return open_html


# In a browser


def run_notebook(sources, folder):
    """Run cells in a kernel, and return the outputs of each."""
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient")
    nbformat = pytest.importorskip("nbformat", reason="needs nbclient")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # From the client and its event loop.
        client = nbclient.NotebookClient(
            notebook, timeout=300, resources={"metadata": {"path": folder}}
        )
        client.execute()
    assert [
        output
        for cell in notebook.cells
        for output in cell.outputs
        if output.output_type in ("error", "stream")
    ] == []
    return [cell.outputs[-1].data for cell in notebook.cells if cell.outputs]


@needs_browser[0]
@needs_browser[1]
@pytest.mark.parametrize("scheme", SCHEMES)
def test_notebook_shows_a_card_a_table_and_a_curve(found, show, scheme, tmp_path):
    source = str(pathlib.Path(__file__).parents[2] / "src")
    first = f"import sys; sys.path.insert(0, {source!r})\nfrom fifteen.experiments import find_experiments"
    outputs = run_notebook(
        [
            f"{first}\nfound = find_experiments({str(tmp_path / 'runs')!r})\nfound",
            "found.sort('name')[4]",
            "found[5]",
            "found[0].read_scalars()['train/loss']",
            "assert 'jax' not in sys.modules",
        ],
        str(tmp_path),
    )
    assert outputs[0]["text/plain"].startswith("<6 experiments: lr0.01_0")
    assert outputs[3]["text/plain"].startswith("ScalarSeries(50 points")
    page = show("<hr>".join(output["text/html"] for output in outputs), scheme)

    table = page.locator(".fifteen").nth(0)
    assert table.locator("th").all_inner_texts() == [
        "name", "status", "step", "config.lr", "config.seed", "eval/loss", "train/accuracy",
        "train/loss", "checkpoints", "size", "age",
    ]  # fmt: skip
    names = table.locator("tbody td:first-child")
    for cell, side in ((names.first, "left"), (table.locator("td").nth(2), "right")):
        assert cell.evaluate("(cell) => getComputedStyle(cell).textAlign") == side
    assert table.locator("table").evaluate("(e) => getComputedStyle(e).tableLayout") == "auto"
    assert names.all_inner_texts()[0] == "lr0.01_0"
    table.get_by_role("button", name="train/loss").click()
    rising = names.all_inner_texts()
    assert rising == ["lr0.1_0", "lr0.1_1", "lr0.01_0", "lr0.01_1", "lr0.01_2", "lr0.1_2"]
    page.keyboard.press("Enter")  # The diverged run comes last.
    assert names.all_inner_texts() == [*rising[4::-1], rising[5]]
    assert table.locator("th[aria-sort]").all_inner_texts() == ["train/loss"]

    card = page.locator(".fifteen").nth(1)
    text = card.inner_text()
    for shown in (
        "lr0.1_1",
        "finished",
        "step 50",
        "optimizer.name",
        "adam",
        "the best <b>",
        "paper",
    ):
        assert shown in text
    assert card.locator("svg").count() == 3
    assert "diverged at 26" in page.locator(".fifteen").nth(2).inner_text()
    curve = page.locator("body > figure svg")
    assert curve.is_visible()
    ink = curve.locator("text").first.evaluate("(e) => getComputedStyle(e).fill")
    assert ink == page.evaluate("() => getComputedStyle(document.body).color")
    if folder := os.environ.get("FIFTEEN_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/notebook-{scheme}.png", full_page=True)


@needs_browser[0]
@needs_browser[1]
def test_names_and_values_are_escaped(tmp_path, show):
    name = HOSTILE.replace("/", "\u2044")
    run = Experiment(tmp_path / "runs" / name, verbose=False)
    run.write_metadata("config", {HOSTILE: HOSTILE, "nested": {HOSTILE: [HOSTILE]}})
    run.write_metadata("</summary>" + name, {"a": HOSTILE})
    run.annotate(note=HOSTILE, tags=[HOSTILE])
    run.save_checkpoint({"a": 1}, step=1, prefix=f"{name}_")
    run.log(TensorboardLogData({HOSTILE: np.arange(5)}), step=range(5))
    run.close()
    Experiment(tmp_path / "runs" / "b", verbose=False).write_metadata("config", {HOSTILE: 1})
    found = find_experiments(tmp_path / "runs")
    html = found._repr_html_() + "".join(run._repr_html_() for run in found)
    page = show(html + run.read_scalars()[HOSTILE]._repr_html_())
    assert page.title() == ""
    assert page.locator("script, b[onmouseover]").count() == 0
    assert HOSTILE.split("\x1b")[0] in page.inner_text("body")
    assert not {"\x1b", "\u202e"} & set(html)


# Without a browser


def test_table_matches_the_command(found, capsys):
    from fifteen.cli import main

    main(["list", str(found[0].data_dir.parent), "--format", "csv"])
    names, *rows = capsys.readouterr().out.splitlines()
    html = found._repr_html_()
    heads = re.findall(r"<button>(.*?)</button>", html)
    assert heads == [
        name for name in names.replace("changed", "age").split(",") if name != "progress"
    ]
    assert html.count("<tr>") == 1 + len(rows)


def test_unreadable_parts_are_marked(found):
    (found[0].data_dir / "config.yaml").write_text("lr: [1,")
    next(found[1].data_dir.glob("*tfevents*")).write_bytes(b"nothing of the kind")
    found[2].clear()
    with pytest.warns(ExperimentWarning, match="tfevents.*damaged"):
        html = found._repr_html_()
    assert html.count('<td class="bad"') > 1
    assert " d ago" not in html  # Nothing was written in 1970.
    assert html.count("<tr>") == 7
    assert "config.yaml" in html
    card = found[0]._repr_html_()
    assert "config.yaml cannot be read" in card
    assert card.count("<svg") == 3
    assert "optimizer.name" in found[1]._repr_html_()
    assert re.search(r'<div class="bad">[^<]*tfevents[^<]*damaged', found[1]._repr_html_())
    assert "found no directory" in found[2]._repr_html_()


def test_moved_experiment_says_so(found, tmp_path):
    moved = found[0].move(tmp_path / "elsewhere")
    assert "has been moved" in found[0]._repr_html_()
    assert "has been moved" not in moved._repr_html_()


def test_pending_logs_are_shown(tmp_path):
    with Experiment(tmp_path / "run", verbose=False) as run:
        run.log(TensorboardLogData({"loss": 0.125}), step=7)
        card = run._repr_html_()
        assert "running" in card
        assert "step 7" in card
        assert "loss  0.125" in card


def test_missing_matplotlib_text_names_the_extra(found, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    card, curve = found[0]._repr_html_(), found[0].read_scalars()["train/loss"]._repr_html_()
    assert "svg" not in card.split("</style>")[1]
    assert card.count("fifteen[plot]") == 1
    assert "train/loss" in cells_of(card)
    assert curve.count("fifteen[plot]") == 1
    assert "ScalarSeries(50 points" in curve


@pytest.mark.slow
def test_long_lists_and_values_are_truncated(tmp_path):
    for number in range(400):
        path = tmp_path / "runs" / f"{number}"
        Experiment(path, verbose=False).write_metadata(
            "config", {f"f{i}": number for i in range(60)}
        )
    found = find_experiments(tmp_path / "runs")
    html = found._repr_html_()
    assert "400 experiments, the first 300 of them here" in html
    assert len(html) < 300_000
    run = found[0]
    run.write_metadata("text", {"long": "x" * 1_000_000, "list": list(range(10_000))})
    run.log(TensorboardLogData({f"s{i}": np.arange(3.0) for i in range(40)}), step=range(3))
    run.close()
    assert len(run._repr_html_()) < 200_000
    assert run._repr_html_().count("<svg") == 6


def test_no_experiments():
    assert "0 experiments" in Experiments([])._repr_html_()


@pytest.mark.parametrize(
    "values",
    [
        *([1], [math.nan], [math.inf], [-math.inf, math.inf], [1, math.nan, 2, math.inf, 3]),
        *([1e308, -1e308], [1e308] * 2, [5e-324, 0], [1e16, 1e16 + 2], np.geomspace(1, 1e308)),
        np.sin(np.arange(1e6)),
    ],
)
def test_any_curve_is_drawn(values):
    step = np.linspace(-(2**62), 2**62, len(values)).astype(np.int64)
    series = ScalarSeries(step, np.arange(1.0 * len(values)), np.array(values, float))
    html = series._repr_html_()
    assert "<svg" in html
    assert "ScalarSeries(" in html
    assert len(html) < 30_000


def test_empty_curve_is_described():
    nothing = ScalarSeries(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
    assert "ScalarSeries(0 points)" in nothing._repr_html_()


@pytest.mark.slow
def test_notebook_needs_no_jax(found):
    script = (
        "import sys; from fifteen.experiments import find_experiments\n"
        f"found = find_experiments({str(found[0].data_dir.parent)!r})\n"
        "found._repr_html_(), found[0]._repr_html_()\nassert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
