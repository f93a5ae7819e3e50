"""Imports and errors of `fifteen view` and `fifteen report`."""

import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from fifteen.cli import main

WITHOUT_JAX = """
import sys
from fifteen.cli import main
assert not main(sys.argv[1:])
print([name for name in ("jax", "pandas", "matplotlib", "tornado") if name in sys.modules])
"""


@pytest.mark.slow
def test_page_and_report_need_no_jax(sweep, tmp_path):
    start = [sys.executable, "-c", WITHOUT_JAX]
    report = [*start, "report", str(sweep), "--output", str(tmp_path / "report.html")]
    printed = subprocess.run(report, check=True, capture_output=True, text=True, timeout=120).stdout
    assert printed.splitlines()[1:] == ["[]"]
    with subprocess.Popen([*start, "view", str(sweep)], stdout=subprocess.PIPE, text=True) as view:
        address = re.search(r"http://\S+", view.stdout.readline())[0]
        curves = "curves?points=9&run=lr0.1_0&tag=train/loss&over=config.seed"
        for path in ("", "table", "where?expression=loss>1", "details?run=lr0.1_0", curves):
            with urllib.request.urlopen(address + path, timeout=60) as answer:
                assert answer.status == 200
        view.send_signal(signal.SIGINT)
        assert view.stdout.read() == "[]\n"
    assert view.returncode == 0


@pytest.fixture
def refused(capsys):
    """Run a failing command, and return its error."""

    def run(*arguments):
        assert main(list(map(str, arguments))) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        return printed.err

    return run


@pytest.mark.parametrize("command", ["view", "report"])
def test_missing_library_error_names_the_extra(refused, sweep, monkeypatch, command):
    monkeypatch.chdir(sweep)
    monkeypatch.setitem(sys.modules, "bokeh", None)
    assert refused(command, sweep) == (
        "fifteen: error: the page in the browser needs bokeh, which is not installed; install it "
        "with pip install 'fifteen[view]'\n"
    )
    assert not (sweep / "report.html").exists()


@pytest.mark.parametrize("port", [-1, 65536, 10**30])
def test_invalid_port_is_refused(refused, sweep, port):
    error = f"fifteen: error: --port: expected 0 to 65535, found {port}\n"
    assert refused("view", sweep, "--port", port) == error


def test_occupied_port_is_refused(refused, sweep):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert refused("view", sweep, "--port", port) == (
            f"fifteen: error: --port: {port} cannot be used: Address already in use; leave it out "
            "for a free one\n"
        )
