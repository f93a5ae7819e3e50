"""The page in headless Chromium, while a script logs."""

import contextlib
import math
import os
import pathlib
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from fifteen.cli import main
from fifteen.experiments import Experiment, TensorboardLogData

from .conftest import make_run

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")

CHROMIUM = pathlib.Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs chromium"),
]

COMMAND = [sys.executable, "-c", "import sys; from fifteen.cli import main; sys.exit(main())"]
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TOOLTIP = """() => {
    const texts = [];
    const walk = (root) => root.querySelectorAll("*").forEach((element) => {
        if (element.shadowRoot) walk(element.shadowRoot);
        if (element.matches(".bk-tooltip-content")) texts.push(element.textContent);
    });
    walk(document);
    return texts.join(" ");
}"""


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Open an address, and check at the end that there were no errors and no outside requests."""
    with contextlib.ExitStack() as stack:

        def visit(address, **options):
            context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}} | options)
            stack.callback(context.close)
            page = context.new_page()
            page.problems, page.foreign = [], []
            page.on("pageerror", lambda error: page.problems.append(str(error)))
            page.on(
                "console",
                lambda line: page.problems.append(line.text) if line.type == "error" else None,
            )
            own = address.partition("#")[0]
            page.on(
                "request",
                lambda request: (
                    None
                    if request.url.startswith((own, "data:", "blob:"))
                    else page.foreign.append(request.url)
                ),
            )
            page.goto(address)
            page.wait_for_selector("html[data-ready]", timeout=60_000)
            stack.callback(lambda: check(page))
            return page

        def check(page):
            assert page.problems == []
            assert page.foreign == []

        yield visit


@pytest.fixture
def live(sweep):
    """Start `fifteen view` in its own process, and return the address it prints."""
    process = subprocess.Popen([*COMMAND, "view", str(sweep)], stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    yield re.search(r"http://127\.0\.0\.1:\d+/", line)[0]
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    process.stdout.close()


def names(page):
    return page.locator("#rows tr td:nth-child(2)").all_inner_texts()


def legend(page):
    return page.locator("#legend li").all_inner_texts()


def choose(page, *runs):
    for run in runs:
        page.get_by_label(f"Choose {run}", exact=True).check()
    page.wait_for_selector(f"#legend li:nth-child({len(runs)})")


def eventually(page, condition):
    for _ in range(300):
        if condition():
            return
        page.wait_for_timeout(100)
    raise AssertionError(page.inner_text("body"))


def test_table_can_be_sorted_filtered_and_compared(live, open_page):
    page = open_page(live + "#run=")
    assert page.inner_text("#count") == "6 runs, 0 chosen"
    page.click("#head button[title='train/loss:last']")
    assert (
        page.get_attribute("#head th:has(button[title='train/loss:last'])", "aria-sort")
        == "ascending"
    )
    # NaN comes last in both orders.
    assert names(page)[0] == "lr0.1_0"
    assert names(page)[-1] == "lr0.1_2"
    page.click("#head button[title='train/loss:last']")
    assert (names(page)[0], names(page)[-1]) == ("lr0.01_2", "lr0.1_2")
    page.fill("#filter", "config.lr < 0.05 and min(train/loss) > 1.61")
    eventually(page, lambda: page.inner_text("#count") == "2 of 6 runs, 0 chosen")
    page.fill("#filter", "config.lr = 0.1")
    eventually(page, lambda: page.inner_text("#mistake"))
    mistake = "write == to compare\n  config.lr = 0.1\n            ^"
    assert page.text_content("#mistake") == mistake
    assert page.inner_text("#count") == "2 of 6 runs, 0 chosen"
    page.fill("#filter", "0.01_")
    eventually(page, lambda: page.inner_text("#count") == "3 of 6 runs, 0 chosen")
    assert page.inner_text("#mistake") == ""
    page.fill("#filter", "")
    eventually(page, lambda: len(names(page)) == 6)

    choose(page, "lr0.01_0", "lr0.1_1")
    eventually(page, lambda: legend(page) == ["lr=0.01, seed=0", "lr=0.1, seed=1"])
    page.click("#differences summary")
    shown = page.locator("#differences")
    eventually(page, lambda: re.search(r"config\.lr\s+0\.01\s+0\.1", shown.inner_text()))
    assert "optimizer" not in shown.inner_text()
    # The URL restores the same state.
    other = open_page(page.url)
    eventually(other, lambda: legend(other) == ["lr=0.01, seed=0", "lr=0.1, seed=1"])
    assert other.inner_text("#count") == "6 runs, 2 chosen"
    assert names(other)[0] == "lr0.01_2"


def test_page_opens_with_the_curves_of_the_first_runs(live, open_page):
    page = open_page(live + "#sort=-train/loss:last&filter=0.01_")
    three = ["seed=2", "seed=1", "seed=0"]
    eventually(page, lambda: legend(page) == three)
    page.goto(live)
    page.reload()
    eventually(page, lambda: len(legend(page)) == 5)
    assert page.inner_text("#count") == "6 runs, 5 chosen"
    # An empty choice is kept after a reload.
    page.check("#head input")
    page.uncheck("#head input")
    eventually(page, lambda: legend(page) == [])
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.inner_text("#count") == "6 runs, 0 chosen"
    assert page.inner_text("#hint") == "Choose runs in the table to see their curves."


def test_value_under_the_pointer_is_shown(live, open_page):
    page = open_page(live + "#tag=train/loss&run=lr0.01_0")
    page.wait_for_selector("#legend li")
    page.wait_for_timeout(500)
    box = page.locator(".plot").bounding_box()
    found = ""
    for part in range(20, 80, 2):
        # The curve crosses this height somewhere.
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * part / 100)
        page.wait_for_timeout(60)
        if found := page.evaluate(TOOLTIP):
            break
    step = int(re.search(r"step: *(\d+)", found)[1])
    value = float(re.search(r"value: *([\d.]+)", found)[1])
    assert "lr0.01_0" in found
    assert value == pytest.approx(1 + np.exp(-0.01 * step), abs=1e-5)


def test_points_of_another_process_appear(live, open_page, sweep):
    page = open_page(
        live + "#tag=train/loss&run=lr0.1_0&column=name&column=train/loss:last&column=step"
    )
    page.wait_for_selector("#legend li")
    code = f"""
from fifteen.experiments import Experiment, TensorboardLogData
with Experiment({str(sweep / "lr0.1_0")!r}, verbose=False) as experiment:
    experiment.log(TensorboardLogData({{"train/loss": 0.4375}}), step=99)
with Experiment({str(sweep / "newcomer")!r}, verbose=False) as experiment:
    experiment.log(TensorboardLogData({{"train/loss": 0.75}}), step=1)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    eventually(page, lambda: "0.4375" in page.inner_text("#rows") and "newcomer" in names(page))
    eventually(page, lambda: page.evaluate("[...plots.values()][0].source.data.xs[0].at(-1)") == 99)
    assert page.evaluate("[...plots.values()][0].source.data.ys[0].at(-1)") == 0.4375


def test_means_smoothing_and_axes(live, open_page):
    page = open_page(live + "#tag=train/loss&run=lr0.01_0&run=lr0.01_1&run=lr0.1_0")
    page.wait_for_selector("#legend li:nth-child(3)")
    page.select_option("#over", "config.seed")
    means = ["lr=0.01 (n=3)", "lr=0.1 (n=3) diverged at 26: lr0.1_2 (seed=2)"]
    eventually(page, lambda: legend(page) == means)
    assert page.evaluate("[...plots.values()][0].bands.data.xs.length") == 2
    # All runs of a mean share its colour; one of them is not chosen.
    colors = page.evaluate(
        """() => [...document.querySelectorAll("#rows td:first-child")].map(
            (cell) => getComputedStyle(cell).borderLeftColor)"""
    )
    keys = page.locator("#legend line").evaluate_all(
        "(lines) => lines.map((line) => getComputedStyle(line).stroke)"
    )
    # Means also use the first colours, which are the most distinct.
    assert keys == ["rgb(59, 130, 246)", "rgb(249, 115, 22)"]
    assert colors == [keys[0]] * 3 + [keys[1]] * 3
    assert page.locator("#rows tr.chosen").count() == 3
    page.check("#logy")
    # The mean without the run that diverged is in sight.
    lowest = "[...plots.values()][0].figure.y_range.start"
    eventually(page, lambda: 0.9 < page.evaluate(lowest) < 1.01)
    page.check("#logx")
    page.select_option("#x", "time")
    page.locator("#smooth").press("ArrowRight")
    assert page.inner_text("#smooth-value") == "0.6"
    assert "logy=1" in page.url
    assert "smooth=1" in page.url


def test_page_works_with_the_keyboard_alone(live, open_page):
    page = open_page(live + "#run=")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.ariaLabel") == "Choose lr0.01_0":
            break
    page.keyboard.press("Space")
    page.wait_for_selector("#legend li")
    assert page.inner_text("#count").endswith("1 chosen")


def test_names_and_values_are_escaped(open_page, tmp_path, capsys):
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    name = evil.replace("/", "\u2044")
    for seed in range(2):
        run = make_run(tmp_path / "runs" / f"{name}{seed}", {"lr": 0.1, "seed": seed, evil: evil})
        run.annotate(note=evil, tags=[evil])
        run.log(TensorboardLogData({evil: 1.0}, {evil: np.ones(9)}), step=1)
        run.summary_writer.add_text(evil, evil, 1)
        run.close()
    assert main(["report", str(tmp_path / "runs"), "--output", str(tmp_path / "r.html")]) == 0
    capsys.readouterr()
    page = open_page((tmp_path / "r.html").as_uri())
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    choose(page, f"{name}0", f"{name}1")
    for tag in ("train/loss", evil):
        page.evaluate("(tag) => { state.tag = [tag]; draw(); }", tag)
    for section in ("differences", "histograms", "texts"):
        page.click(f"#{section} summary")
    eventually(page, lambda: page.inner_text("#texts").count(evil) >= 4)
    assert page.locator("script").count() == 4  # The page's own.
    assert page.locator("img").count() == 0
    box = page.locator(".plot").first.bounding_box()
    for part in range(20, 80, 3):
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * part / 100)
    page.wait_for_timeout(200)
    assert dialogs == []


@pytest.mark.parametrize("name", ["constructor", "__proto__"])
def test_run_may_be_named_like_an_object_property(live, open_page, sweep, tmp_path, name):
    make_run(sweep / name, {"lr": 1.0, "seed": 0})
    with Experiment(sweep / name, verbose=False) as experiment:
        experiment.log(TensorboardLogData({name: 1.0}), step=1)
    path = tmp_path / "report.html"
    assert main(["report", str(sweep), "--output", str(path)]) == 0
    for address in (path.as_uri(), live):
        page = open_page(f"{address}#tag={name}&tag=train/loss&run={name}&run=lr0.1_0")
        page.wait_for_selector("#legend li:nth-child(2)")
        lengths = "[...plots.values()].map((plot) => plot.source.data.xs.map((x) => x.length))"
        eventually(page, lambda: page.evaluate(lengths) == [[1], [50, 50]])  # noqa: B023
        page.click("#texts summary")
        eventually(page, lambda: f"{name}: directory" in page.inner_text("#texts"))  # noqa: B023


def test_report_works_without_a_server(open_page, sweep, tmp_path):
    with Experiment(sweep / "lr0.1_0", verbose=False) as experiment:
        for step in range(5):
            experiment.log(
                TensorboardLogData({}, {"weights": np.linspace(-step, 1, 50)}), step=step
            )
        experiment.summary_writer.add_text("remark", "all is well", 3)
        experiment.summary_writer.add_image("digit", np.zeros((3, 8, 8)), 4)
    path = tmp_path / "report.html"
    subprocess.run([*COMMAND, "report", str(sweep), "--output", str(path)], check=True, timeout=120)
    page = open_page(path.as_uri() + "#run=lr0.1_0&run=lr0.1_1", offline=True)
    page.wait_for_selector("#legend li:nth-child(2)")
    assert page.inner_text("#live") == ""
    for section in ("histograms", "images", "texts"):
        page.click(f"#{section} summary")
    eventually(page, lambda: "all is well" in page.inner_text("#texts"))
    assert page.evaluate("document.querySelector('#images img').naturalWidth") == 8
    page.select_option("#over", "config.seed")
    eventually(
        page,
        lambda: legend(page) == ["lr0.1_0 (n=3) diverged at 26: lr0.1_2 (seed=2)"],
    )
    assert len(path.read_bytes()) < 3_000_000


def test_html_plot_is_a_report_that_opens_with_its_curves(open_page, sweep, tmp_path, capsys):
    path = tmp_path / "loss.html"
    assert main(["plot", str(sweep), "eval/loss", "--over", "seed", "--output", str(path)]) == 0
    capsys.readouterr()
    page = open_page(path.as_uri())
    eventually(page, lambda: page.locator("#legend li").count() == 2)
    assert page.evaluate("[...plots.keys()]") == ["eval/loss"]


def test_html_plot_over_another_scalar(open_page, sweep, tmp_path, capsys):
    path = tmp_path / "loss.html"
    arguments = ["train/loss", "--x", "train/accuracy", "--over", "lr", "--output", str(path)]
    assert main(["plot", str(sweep), *arguments]) == 0
    capsys.readouterr()
    page = open_page(path.as_uri())
    eventually(page, lambda: page.locator("#legend li").count() == 3)
    assert page.locator("#x option").all_inner_texts() == ["train/accuracy"]
    assert page.input_value("#over") == "config.lr"
    x, y = page.evaluate(
        "(({xs, ys}) => [[...xs[0]], [...ys[0]]])(plots.get('train/loss').source.data)"
    )
    assert len(x) > 50
    np.testing.assert_allclose(x, 1 - np.array(y) / 4, atol=1e-6)


def test_zooming_in_shows_every_point(live, open_page, sweep):
    with Experiment(sweep / "long", verbose=False) as experiment:
        step = np.arange(100_000)
        experiment.log(TensorboardLogData({"train/loss": np.cos(step)}), step=step)
    page = open_page(live)
    eventually(page, lambda: "long" in names(page))
    page.goto(live + "#tag=train/loss&run=long")
    eventually(page, lambda: (legend(page), page.locator(".plot").count()) == (["long"], 1))
    shown = """() => {
        const plot = [...plots.values()][0], [x] = plot.source.data.xs;
        const { start, end } = plot.figure.x_range;
        return [start, end, x.filter((step) => step >= start && step <= end).length, x.length];
    }"""
    _, _, coarse, _ = page.evaluate(shown)
    assert coarse < 1100
    box = page.locator(".plot").bounding_box()
    for _ in range(2):
        for part, action in ((0.5, page.mouse.down), (0.55, page.mouse.up)):
            x, y = box["x"] + box["width"] * part, box["y"] + box["height"] * part
            page.mouse.move(x, y, steps=8)
            action()
        page.wait_for_timeout(600)
    eventually(page, lambda: page.evaluate("zoom.start") is not None)
    start, end, *_ = page.evaluate(shown)
    assert 0 < end - start < 900
    steps = math.floor(end) - math.ceil(start) + 1
    eventually(page, lambda: page.evaluate(shown)[2] == steps)
    # The rest is still there at a coarse resolution.
    assert page.evaluate(shown)[3] > steps + 500
    page.keyboard.press("Escape")
    page.evaluate("[...plots.values()][0].figure.reset.emit()")
    eventually(page, lambda: page.evaluate(shown)[3] < 1100)


def test_long_menu_can_be_searched(live, open_page, sweep):
    with Experiment(sweep / "many", verbose=False) as experiment:
        experiment.log(TensorboardLogData({f"layer_{n}/norm": 1.0 for n in range(40)}), step=1)
    page = open_page(live)
    page.click("#controls .menu summary")
    eventually(page, lambda: page.locator("#tags label").count() == 43)
    page.fill("#tags input[type=search]", "LAYER_7")
    shown = page.locator("#tags label:visible")
    eventually(page, lambda: shown.all_inner_texts() == ["layer_7/norm"])
    shown.get_by_role("checkbox").check()
    eventually(page, lambda: "layer_7/norm" in page.evaluate("[...plots.keys()]"))


def test_names_stay_visible_while_scrolling(live, open_page):
    page = open_page(live, viewport={"width": 390, "height": 800})
    page.evaluate("document.querySelector('#scroll').scrollLeft = 200")
    name = page.locator("#rows tr td:nth-child(2)").first
    eventually(page, lambda: name.bounding_box()["x"] == 0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_page_fits_its_window(live, open_page, scheme, width):
    size = {"width": width, "height": 800}
    page = open_page(live + "#run=lr0.1_0&run=lr0.01_0", viewport=size, color_scheme=scheme)
    page.wait_for_selector("#legend li:nth-child(2)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 28)"
    assert dark == (scheme == "dark")
    if folder := os.environ.get("SCREENSHOTS"):
        page.wait_for_timeout(500)
        page.screenshot(path=f"{folder}/{scheme}-{width}.png", full_page=width < 900)
