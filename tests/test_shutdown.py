"""Pending work at exit and at terminating signals."""

import signal
import subprocess
import sys

import pytest

PREPARED = """
import os, signal, sys, threading, time
from fifteen.experiments import _shutdown

_shutdown.register(lambda: print("exit", flush=True), lambda: print("signal", flush=True))
_shutdown.prepare()
"""


def run(script):
    return subprocess.run(
        [sys.executable, "-c", PREPARED + script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_work_finishes_before_a_signal_ends_the_process(number):
    outcome = run(f"os.kill(os.getpid(), {number:d}); time.sleep(60)")
    assert (outcome.stdout, outcome.returncode) == ("signal\n", -number), outcome.stderr


@pytest.mark.slow
def test_work_is_done_once_if_its_thread_ends_early():
    outcome = run(
        "import _thread\n"
        "start = _thread.start_new_thread\n"
        "_thread.start_new_thread = lambda *arguments: (start(*arguments), time.sleep(1))\n"
        "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)"
    )
    assert (outcome.stdout, outcome.returncode) == ("signal\n", -signal.SIGTERM), outcome.stderr


def test_failed_work_does_not_stop_other_work():
    outcome = run(
        "_shutdown.register(lambda: 1 / 0)\n"
        "_shutdown.register(lambda: None, lambda: print('last', flush=True))\n"
        "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)"
    )
    assert (outcome.stdout, outcome.returncode) == ("signal\nlast\n", -signal.SIGTERM)


def test_signal_ends_the_process_once_the_work_is_finished():
    outcome = run(
        "_shutdown._MAX_PAUSE_SECONDS = 1000\nos.kill(os.getpid(), signal.SIGTERM); time.sleep(60)"
    )
    assert outcome.returncode == -signal.SIGTERM, outcome.stderr


@pytest.mark.slow
def test_lock_held_by_the_main_thread_does_not_deadlock():
    outcome = run(
        "lock = threading.Lock()\n"
        "def finish():\n    with lock: print('finished', flush=True)\n"
        "_shutdown.register(lambda: None, finish)\n"
        "with lock:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('went on', flush=True)\n"
        "time.sleep(60)"
    )
    assert outcome.stdout == "signal\nwent on\nfinished\n", outcome.stderr
    assert outcome.returncode == -signal.SIGTERM


@pytest.mark.slow
def test_process_that_exits_during_the_work_ends_by_the_signal():
    outcome = run(
        "_shutdown.register(lambda: None, lambda: time.sleep(7))\n"
        "os.kill(os.getpid(), signal.SIGTERM)"
    )
    assert (outcome.stdout, outcome.returncode) == ("signal\nexit\n", -signal.SIGTERM)


def test_handlers_of_the_user_are_kept():
    outcome = run(
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "_shutdown.prepare()\n"
        "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)"
    )
    assert (outcome.stdout, outcome.returncode) == ("exit\n", 7), outcome.stderr
