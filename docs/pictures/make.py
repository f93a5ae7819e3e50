"""Make the pictures of the README and the guides from real runs, with Chromium.

python docs/pictures/make.py
"""

import contextlib
import fcntl
import os
import pathlib
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import urllib.request

import tyro
from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from fifteen.experiments import find_experiments

HERE = pathlib.Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"
BIN = pathlib.Path(sys.executable).parent


def in_terminal(command: str, directory: pathlib.Path, columns: int) -> str:
    """Run a command as if a person did, and return what it prints, with its colours."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    path = {"PATH": f"{BIN}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        command, shell=True, cwd=directory, stdout=child, env=environment | path
    )
    os.close(child)
    printed = b""
    with contextlib.suppress(OSError):
        while chunk := os.read(parent, 65536):
            printed += chunk
    os.close(parent)
    assert process.wait() == 0, command
    # A progress bar draws itself over and over.
    return re.sub(rb".*\x1b\[2K|\x1b\[\?25[lh]", b"", printed).decode().replace("\r", "")


def picture_of_terminal(
    page: Page, name: str, commands: list[str], directory: pathlib.Path, columns: int
) -> None:
    """Draw a terminal in which commands have been run."""
    console = Console(record=True, width=columns, file=open(os.devnull, "w"))  # noqa: SIM115
    for command in commands:
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
        console.print(Text.from_ansi(in_terminal(command, directory, columns).rstrip()))
    console.print()
    svg = console.export_svg(title="runs", theme=MONOKAI)
    # The fonts of the system: the picture is drawn without the network.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL).replace(
        "Fira Code", "DejaVu Sans Mono"
    )
    page.set_content(f"<body style='margin: 0'>{svg}</body>")
    page.locator("svg").first.screenshot(path=HERE / f"{name}.png", omit_background=True)


@contextlib.contextmanager
def served(command: list[str], pattern: str):  # noqa: ANN201
    """Run a server, and yield the address that it prints."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(pattern, line):
                yield found[0]
                break
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def main(steps: int = 1500) -> None:
    """Train, kill and resume, and take the pictures."""
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        here = pathlib.Path(temporary)
        sweep = [sys.executable, str(EXAMPLES / "05_sweep.py"), "--root", "runs/sweep"]
        subprocess.run([*sweep, "--steps", "300"], cwd=here, check=True, stdout=subprocess.DEVNULL)
        digits = [sys.executable, str(EXAMPLES / "demo.py"), "--data-dir", "runs/digits"]
        subprocess.run([*digits, "--steps", str(steps)], cwd=here, check=True)

        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium")
        page = browser.new_page(viewport={"width": 1200, "height": 760})
        where = "fifteen list runs/sweep --where 'max(test/accuracy) > 0.8' --sort test/loss \\\n"
        where += "    --columns learning_rate seed test/loss test/accuracy:max"
        plot = "fifteen plot runs/sweep test/accuracy --over seed"
        picture_of_terminal(page, "list", [where], here, 126)
        picture_of_terminal(page, "plot", [plot], here, 100)

        best = find_experiments(here / "runs" / "sweep").sort("test/loss")
        shown = f"{best[:8]._repr_html_()}<hr>{best[0]._repr_html_()}".replace(str(here), "~")
        page.set_content(
            f"<!doctype html><body style='width: 78rem; margin: 0; padding: 9pt'>{shown}"
        )
        page.locator("body").screenshot(path=HERE / "notebook.png")

        view = [str(BIN / "fifteen"), "view", str(here / "runs" / "sweep")]
        with served(view, r"http://\S+") as address:
            page.goto(address)
            page.wait_for_selector("[data-ready]")
            page.locator("thead input[type=checkbox]").check()
            page.locator("#over").select_option("config.seed")
            page.wait_for_timeout(3_000)
            page.screenshot(path=HERE / "view.png")

        # With all points and without the pane of settings.
        settings = '{"ignoreOutliers": false, "timeSeriesSettingsPaneOpened": false}'
        page.add_init_script(
            f"for (const name of ['_tb_global_settings', '_tb_global_settings.timeseries'])"
            f"  localStorage.setItem(name, '{settings}')"
        )
        page.set_viewport_size({"width": 1200, "height": 480})
        (here / "logs").mkdir()
        (here / "runs" / "digits").rename(here / "logs" / "killed_and_resumed")
        board = [str(BIN / "tensorboard"), "--logdir", str(here / "logs"), "--port", "0"]
        with served(board, r"http://\S+") as address:
            for _ in range(60):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(address)
                    break
                time.sleep(0.5)
            page.goto(f"{address}?tagFilter=train%2F(loss|grad_norm)#timeseries")
            page.wait_for_timeout(12_000)
            page.screenshot(path=HERE / "tensorboard.png")
    for path in sorted(HERE.glob("*.png")):
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
