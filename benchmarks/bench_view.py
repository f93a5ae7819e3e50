"""The page: the time to write a report, to respond to clicks, and to show new points.

It shows 1,500 experiments with four metadata files each; 100 of them have 10,000 points of two
scalars. Clicks and new points are measured in headless Chromium (/usr/bin/chromium) by playwright.

python benchmarks/bench_view.py [COUNT] [COUNT_LONG]
"""

import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from fifteen.experiments import Experiment, TensorboardLogData

COMMAND = [sys.executable, "-c", "import sys; from fifteen.cli import main; sys.exit(main())"]
CHROMIUM = "/usr/bin/chromium"
# The time from a click to the frame after its response.
CLICK = """async (selector) => {
    const start = performance.now();
    document.querySelector(selector).click();
    do await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    while (document.documentElement.dataset.drawn !== String(drawing));
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    return performance.now() - start;
}"""


def make_runs(root: pathlib.Path, count: int, long: int) -> None:
    """Create experiments with four metadata files each; the first ones are long."""
    for number in range(count):
        config = {"optimizer": {"name": "adam", "lr": number / count}, "seed": number % 5}
        with Experiment(root / f"run_{number}", verbose=False) as experiment:
            experiment.write_metadata("config", config)
            experiment.write_metadata("model", {"layers": [64] * 4, "dropout": number % 7 / 10})
            experiment.write_metadata("data", {"name": "digits", "size": number})
            experiment.write_metadata("host", {"name": f"node{number % 9}", "gpus": 8})
            steps = np.arange(10_000 if number < long else 20)
            noise = np.random.default_rng(number).normal(0, 0.1, len(steps))
            loss = 1 / (1 + steps * number / 1e5) + noise
            scalars = {"train/loss": loss, "train/accuracy": 1 - loss / 4}
            experiment.log(TensorboardLogData(scalars=scalars), step=steps)


def measure_report(root: pathlib.Path, path: pathlib.Path) -> None:
    start = time.perf_counter()
    command = [*COMMAND, "report", str(root), "--output", str(path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    print(f"{'report':32} {seconds:6.2f} s {path.stat().st_size / 1e6:8.1f} MB")


def measure_clicks(page: Any) -> None:
    """Print the times until the page has responded to clicks."""
    page.click("#head input")  # Choose the first 100.
    page.wait_for_selector("#legend li:nth-child(100)", timeout=120_000)
    page.wait_for_timeout(2000)
    for name, selector in (
        ("sort", "#head button[title='train/loss:last']"),
        ("leave a run", "#rows tr:nth-child(3)"),
        ("choose a run", "#rows tr:nth-child(3)"),
        ("another axis", "#logx"),
    ):
        times: list[float] = []
        for _ in range(9):
            times.append(page.evaluate(CLICK, selector))
            if name.endswith("run"):  # Sort, and sort back.
                page.evaluate(CLICK, selector)
            page.wait_for_timeout(200)
        print(f"{name:32} {statistics.median(times):6.0f} ms, at most {max(times):6.0f} ms")


def measure_latency(page: Any, path: pathlib.Path) -> None:
    """Print the time of a point from `log` to the curve."""
    times: list[float] = []
    wanted = "[...plots.values()].some((plot) => plot.source.data.ys[0]?.at(-1) === {})"
    with Experiment(path, verbose=False) as experiment:
        for number in range(12):
            value = 8.0 + number
            experiment.log(TensorboardLogData({"train/loss": value}), step=20_000 + number)
            start = time.perf_counter()
            # The page's content security policy forbids `wait_for_function`.
            while not page.evaluate(wanted.format(value)):
                page.wait_for_timeout(20)
            times.append(time.perf_counter() - start)
            time.sleep(0.37)
    print(f"{'new point':32} {statistics.median(times):6.2f} s, at most {max(times):6.2f} s")


def main(count: int = 1500, long: int = 100) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory) / "runs"
        make_runs(root, count, long)
        measure(root)


def measure(root: pathlib.Path) -> None:
    """Print the times of the page for the experiments below a root."""
    measure_report(root, root.parent / "report.html")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        print("playwright is not installed; clicks are not measured")
        return
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        command = [*COMMAND, "view", str(root)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        address = re.search(r"http://\S+", server.stdout.readline())
        assert address is not None
        try:
            page.goto(address[0])
            page.wait_for_selector("html[data-ready]", timeout=60_000)
            measure_clicks(page)
            page.goto(f"{address[0]}#tag=train/loss&run=run_3")
            page.reload()
            page.wait_for_selector("#legend li", timeout=60_000)
            measure_latency(page, root / "run_3")
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(60)
            server.stdout.close()
            browser.close()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
