"""TensorBoard's page in headless Chromium, driven by WebDriver.

Skipped without Chromium and its driver.
"""

import contextlib
import json
import re
import shutil
import subprocess
import time
import urllib.request

import pytest

from fifteen.experiments import TensorboardLogData
from fifteen.experiments.events.writing import EventLog
from fifteen.experiments.storage import Directory

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="needs chromium and chromedriver",
    ),
]

SECONDS_TO_SHOW = 60
ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
TEXT_OF_THE_PAGE = """
const texts = [];
const walk = (root) => root.childNodes.forEach((node) => {
    if (node.nodeType === Node.TEXT_NODE) texts.push(node.textContent.trim());
    if (node.tagName === "STYLE" || node.tagName === "SCRIPT") return;
    if (node.shadowRoot) walk(node.shadowRoot);
    if (node.contentDocument) walk(node.contentDocument.body);
    walk(node);
});
walk(document.body);
return texts.filter((text) => text).join(" ");
"""
"""HParams draws inside of shadow roots, which `document.body.innerText` does not tell of."""


class Browser:
    """A session of Chromium, by the protocol of https://www.w3.org/TR/webdriver2/."""

    def __init__(self, driver, profile):
        options = {"args": [*ARGUMENTS, f"--user-data-dir={profile}"]}
        asked = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        self._session = f"{driver}/session"
        self._session += "/" + self._ask("", asked)["sessionId"]

    def _ask(self, path, body=None, method="POST"):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._session + path, data=data, method=method)
        with urllib.request.urlopen(request, timeout=SECONDS_TO_SHOW) as response:
            return json.loads(response.read())["value"]

    def wait_for(self, url, *patterns):
        """Open a page, and wait until its text matches all patterns."""
        self._ask("/url", {"url": url})
        deadline = time.monotonic() + SECONDS_TO_SHOW
        while True:
            text = self._ask("/execute/sync", {"script": TEXT_OF_THE_PAGE, "args": []})
            missing = [pattern for pattern in patterns if not re.search(pattern, text)]
            if not missing:
                return text
            assert time.monotonic() < deadline, f"{missing} not in {text!r:.5000}"
            time.sleep(0.2)

    def close(self):
        self._ask("", method="DELETE")


@pytest.fixture
def browser(tmp_path_factory):
    driver = subprocess.Popen(
        ["chromedriver", "--port=0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with contextlib.ExitStack() as stack:
        stack.callback(driver.stdout.close)
        stack.callback(driver.wait)
        stack.callback(driver.terminate)
        port = next(
            match[1]
            for line in driver.stdout
            if (match := re.search(r"started successfully on port (\d+)", line))
        )
        started = Browser(f"http://127.0.0.1:{port}", tmp_path_factory.mktemp("profile"))
        stack.callback(started.close)
        yield started


def log_run(directory, steps, rewind=None, scale=1.0):
    directory.mkdir(exist_ok=True)
    log = EventLog(Directory(directory))
    if rewind is not None:
        log.rewind(rewind)
    for step in steps:
        log.log(TensorboardLogData(scalars={"loss": scale * step}), step, 1, 1)
    log.close()


@pytest.mark.parametrize("fast", [False, True], ids=["python", "rust"])
def test_resumed_run_shows_the_curve_of_an_uninterrupted_run(tmp_path, tensorboard, browser, fast):
    log_run(tmp_path / "whole", range(31))
    log_run(tmp_path / "resumed", range(60), scale=100)
    log_run(tmp_path / "resumed", range(31), rewind=-1)
    log_run(tmp_path / "unfinished", range(60))
    log_run(tmp_path / "unfinished", [], rewind=42)
    server = tensorboard(tmp_path, fast)
    # Rows of the table below the curve: run, smoothed, value, last step.
    browser.wait_for(
        server.url + "#timeseries",
        r"loss.* whole [\d.]+ 30 30 ",
        r"loss.* resumed [\d.]+ 30 30 ",
        *([] if fast else [r"loss.* unfinished [\d.]+ 42 42 "]),
    )


@pytest.mark.parametrize("fast", [False, True], ids=["python", "rust"])
def test_hparams_show_one_row_per_experiment(tmp_path, tensorboard, browser, fast):
    for run, rate in enumerate([0.1, 0.01, 0.001]):
        directory = tmp_path / f"run{run}"
        directory.mkdir()
        log = EventLog(Directory(directory))
        log.log_hparams({"rate": rate, "optimizer": "adam"}, metrics=["loss"])
        for step in range(5):
            log.log(TensorboardLogData(scalars={"loss": run + step / 8}), step, 1, 1)
        log.close()
    text = browser.wait_for(
        tensorboard(tmp_path, fast).url + "#hparams",
        r"Trial ID .*optimizer .*rate .*loss .*run0",
        r"run0 .*adam .*0\.10000 .*0\.50000",
        r"run1 .*adam .*0\.010000 .*1\.5000",
        r"run2 .*adam .*0\.0010000 .*2\.5000",
    )
    assert "Number of matching session groups: 3" in text
