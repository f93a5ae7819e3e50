"""`fifteen plot` in the terminal and in print."""

import os
import pty
import re
import subprocess
import sys

import pytest

from fifteen.cli import main
from fifteen.experiments import Experiment, TensorboardLogData
from fifteen.view import _figure

from .conftest import make_run

COMMAND = [sys.executable, "-c", "import sys; from fifteen.cli import main; sys.exit(main())"]


@pytest.fixture
def plot(capsys):
    def run(*arguments, expect=0):
        assert main(["plot", *map(str, arguments)]) == expect
        return capsys.readouterr()

    return run


def test_legend_shows_what_differs(plot, sweep):
    out = plot(sweep, "train/loss").out
    assert "train/loss" in out.splitlines()[0]
    assert max(map(len, out.splitlines())) <= 80
    assert re.search(r"⣿ lr=0.01, seed=0  \d", out)
    assert re.search(r"\* lr=0.01, seed=1  \d", out)
    assert "lr=0.1, seed=2  1.10208  diverged: not finite from 26 on" in out
    assert re.search("[⠁-⣿]{3}", out)


def test_tags_may_be_globs_and_directories(plot, sweep):
    out = plot(f"{sweep}/lr0.1_*", "*/loss").out
    assert "eval/loss" in out
    assert "train/loss" in out
    assert "train/accuracy" not in out
    assert "lr=0.01" not in out


def test_all_tags_are_drawn_up_to_a_limit(plot, tmp_path):
    with Experiment(tmp_path / "run", verbose=False) as experiment:
        experiment.log(TensorboardLogData({f"tag{n}": 1.0 for n in range(6)}), step=1)
    printed = plot(tmp_path)
    assert "tag3" in printed.out
    assert "tag4" not in printed.out
    assert printed.err == "fifteen: note: not drawn: tag4, tag5; name the tags to draw\n"


def test_mean_over_seeds_is_drawn(plot, sweep):
    out = plot(sweep, "train/loss", "--over", "seed").out
    assert "⣿ lr=0.01 (n=3)" in out
    assert "* lr=0.1 (n=3)" in out
    assert "seed=" not in out


def test_ticks_are_round_numbers(plot, tmp_path):
    with Experiment(tmp_path / "run", verbose=False) as experiment:
        for step in range(1, 301):
            experiment.log(TensorboardLogData({"loss": 0.03 + step / 313}), step=step)
    *lines, steps, _ = plot(tmp_path).out.rstrip().splitlines()
    assert steps.split() == ["50", "100", "150", "200", "250", "300"]
    values = re.findall(r"^ *([\d.]+)┤", "\n".join(lines), re.M)
    assert values == ["1", "0.8", "0.6", "0.4", "0.2", "0"]


def test_values_that_hardly_differ_are_drawn(plot, tmp_path):
    with Experiment(tmp_path / "run", verbose=False) as experiment:
        for step, value in enumerate([0.0, 5e-324, 1.0, 1.0 + 2**-20, 3e38, -3e38]):
            experiment.log(TensorboardLogData({"a": value, f"b{step}": value}), step=step)
    assert "a" in plot(tmp_path, "a", "b*").out


def test_axes_may_be_logarithmic_seconds_or_a_scalar(plot, sweep):
    assert "seconds" in plot(sweep, "train/loss", "--x", "time").out
    assert "eval/loss" in plot(sweep, "train/loss", "--x", "eval/loss").out
    out = plot(sweep, "train/loss", "--log-x", "--log-y", "--smooth", "0.9").out
    assert "⣿ lr=0.01" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["nowhere"],
            f"{os.getcwd()}/nowhere: expected a directory, found nothing; check the path",
        ),
        (["ROOT", "acc"], "no scalar is called 'acc'; known: eval/loss, train/accuracy"),
        (["ROOT", "--over", "sed"], "no experiment has a field called 'sed'; known: config.lr"),
        (["ROOT", "--x", "tokens"], "no scalar is called 'tokens'; known: eval/loss"),
        (["ROOT", "--smooth", "1"], "--smooth: expected at least 0 and below 1, found 1"),
        (["ROOT", "--output", "a.gif"], "--output: expected .pdf, .svg, .png"),
    ],
)
def test_mistakes_are_reported(plot, sweep, arguments, message):
    printed = plot(*[str(sweep) if text == "ROOT" else text for text in arguments], expect=1)
    assert printed.err.startswith(f"fifteen: error: {message}")


def test_experiments_without_scalars_are_an_error(plot, tmp_path):
    Experiment(tmp_path, verbose=False).write_metadata("config", {"lr": 1})
    printed = plot(tmp_path, expect=1)
    assert printed.err == "fifteen: error: no experiment there has scalars; nothing to draw\n"


def test_control_characters_in_names_are_escaped(plot, tmp_path):
    for seed in range(2):
        name = f"\033[2J\n{seed}"
        make_run(tmp_path / f"run{seed}", {"lr": 0.1, "seed": seed, "name": name})
        with Experiment(tmp_path / f"run{seed}", verbose=False) as experiment:
            experiment.log(TensorboardLogData({"\033[31mred": 1.0}), step=1)
    out = plot(tmp_path).out
    assert "\033" not in out
    assert r"name=\x1b[2J\n0" in out
    assert r"\x1b[31mred" in out


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pdf", "svg", "png"])
def test_figure_is_ready_to_print(plot, sweep, tmp_path, kind):
    path = tmp_path / f"loss.{kind}"
    assert plot(sweep, "train/*", "--over", "seed", "--output", path).out == f"Wrote {path}\n"
    first = path.read_bytes()
    plot(sweep, "train/*", "--over", "seed", "--output", path)
    assert path.read_bytes() == first
    if kind == "pdf":
        assert first.startswith(b"%PDF")
        assert b"/FontFile2" in first  # Fonts are embedded as TrueType.
        assert b"/Type3" not in first
        assert b"/Subtype /Image" not in first
    if kind == "svg":
        text = first.decode()
        # The three curves differ in dashes as well as in colour.
        assert len(set(re.findall("stroke-dasharray: [^;]+", text))) >= 1
        assert "<image" not in text
    if kind == "png":
        assert first.startswith(b"\x89PNG")


@pytest.fixture
def shown_in_print(plot, tmp_path, monkeypatch):
    """Draw an SVG with texts instead of outlines, and return them."""
    monkeypatch.setitem(_figure._SETTINGS, "svg.fonttype", "none")

    def draw(*arguments):
        plot(*arguments, "--output", tmp_path / "a.svg")
        return re.sub("<!--.*?-->", "", (tmp_path / "a.svg").read_text(), flags=re.DOTALL)

    return draw


def test_labels_are_not_rendered_as_formulas(shown_in_print, tmp_path):
    for seed in range(2):
        config = {"lr": 0.1, "seed": seed, "name": f"$\\frac{seed}{{$"}
        make_run(tmp_path / f"_{seed}", config)
    assert "name=$\\frac0{$" in shown_in_print(tmp_path, "train/loss")


def test_logarithmic_tick_labels_are_rendered_as_formulas(shown_in_print, sweep):
    shown = shown_in_print(sweep, "train/loss", "--over", "seed", "--log-x", "--log-y")
    assert "step" in shown
    assert "mathdefault" not in shown


@pytest.mark.slow
def test_terminal_plot_has_colours_and_fits_the_width(sweep):
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "plot", str(sweep), "train/loss"],
        stdout=child,
        env=os.environ | {"COLUMNS": "60", "LINES": "20"},
    )
    os.close(child)
    text = b""
    try:
        while part := os.read(parent, 65536):
            text += part
    except OSError:  # The terminal was closed.
        pass
    assert process.wait(60) == 0
    os.close(parent)
    lines = re.sub(r"\033\[[\d;]*m", "", text.decode()).splitlines()
    assert b"\033[38;5;12m" in text
    assert len(lines[1]) == 60


@pytest.mark.slow
def test_terminal_plot_imports_no_jax(sweep):
    code = (
        "import sys; from fifteen.cli import main; "
        f"main(['plot', {str(sweep)!r}]); "
        "print([name for name in ('jax', 'matplotlib', 'bokeh', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_missing_library_error_names_the_extra(plot, sweep, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotext", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    extra = "which is not installed; install it with pip install 'fifteen[plot]'\n"
    assert plot(sweep, expect=1).err == f"fifteen: error: this plot needs plotext, {extra}"
    printed = plot(sweep, "--output", tmp_path / "a.pdf", expect=1)
    assert printed.err == f"fifteen: error: this plot needs matplotlib, {extra}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["acc"], "no scalar is called 'acc'; known: eval/loss, train/accuracy, train/loss\n"),
        (["--x", "tokens"], "no scalar is called 'tokens'; known: eval/loss"),
        (
            ["--over", "sed"],
            "no experiment has a field called 'sed'; known: config.lr, config.seed, "
            "config.optimizer.name; did you mean 'config.seed'?",
        ),
    ],
)
def test_report_and_plot_report_the_same_mistakes(plot, sweep, tmp_path, arguments, message):
    path = tmp_path / "a.html"
    printed = plot(sweep, *arguments, "--output", path, expect=1)
    assert printed.err.startswith(f"fifteen: error: {message}")
    assert not path.exists()
