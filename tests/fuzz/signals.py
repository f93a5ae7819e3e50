"""Attack: after signals at random moments no data is lost, and handler exceptions propagate.

Importing takes longer than a trial, so one process imports, and signals go to its forks.
"""

import atexit
import collections
import contextlib
import faulthandler
import gc
import json
import os
import pathlib
import random
import select
import signal
import subprocess
import sys
import time
import traceback

from script import Script, check

LIMIT = 60
"""Seconds after which a process counts as hanging."""

ENDS = {"SIGKILL": -9, "SIGTERM": -15, "SIGTERM handled": 7, "SIGINT": -2, "SIGALRM": 8}


class Stop(Exception):
    """Raised by the handler."""


def leave(_, frame):
    traceback.print_stack(frame)
    sys.exit(7)


def child(directory, kind, seed):
    """Work until the signal comes."""
    report = os.open(directory / "report", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(what, number):
        os.write(report, f"{what} {number}\n".encode())

    def ignored(unraisable):
        # Python drops exceptions in finalizers and in JAX's callback of the garbage collector.
        if isinstance(unraisable.exc_value, Stop | KeyboardInterrupt | SystemExit):
            os._exit(9)

    sys.unraisablehook = ignored
    gc.callbacks.clear()
    if kind == "SIGTERM handled":
        signal.signal(signal.SIGTERM, leave)
    script = Script(random.Random(seed), directory / "run", say)
    # An exception is lost while Python compiles a module, and a function that JAX was compiling
    # can never be compiled again.
    for _ in range(0 if kind in ("SIGKILL", "SIGTERM") else 50):
        script.work()
    say("ready", 0)
    if kind == "SIGALRM":
        interrupt(script)
    while True:
        script.work()


def interrupt(script):
    """Raise from a signal handler repeatedly while the script runs."""
    stacks = []

    def stop(_, frame):
        stacks.append("".join(traceback.format_stack(frame)))
        raise Stop

    signal.signal(signal.SIGALRM, stop)
    for number in range(30):
        try:
            signal.setitimer(signal.ITIMER_REAL, 1e-6 + 0.03 * script.rng.random() ** 3)
            while len(stacks) == number:
                script.work()
        except Stop:
            continue
        except Exception as error:
            # JAX 0.8 replaces the handler's exception by its own.
            if "couldn't apply typeof" in str(error) and len(stacks) > number:
                continue
            # JAX 0.12 takes its trace away while it works, and then has none any more.
            if "object has no attribute 'process_primitive'" in str(error):
                os._exit(9)
            raise
        raise AssertionError(f"swallowed what was raised here:\n{stacks[-1]}")
    sys.exit(8)


def serve():
    """Fork a child for each input line, and print how it ended."""
    for line in sys.stdin:
        directory, kind, seed = json.loads(line)
        pid = os.fork()
        if not pid:
            output = os.open(f"{directory}/output", os.O_WRONLY | os.O_CREAT)
            os.dup2(output, 1), os.dup2(output, 2)
            faulthandler.dump_traceback_later(LIMIT / 2)
            child(pathlib.Path(directory), kind, seed)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


servers = []


def attack(rng, directory):
    if not servers:
        arguments = [sys.executable, "-W", "ignore", __file__]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        servers.append(subprocess.Popen(arguments, bufsize=0, **pipes))
        atexit.register(servers[0].communicate)
    kind, server = rng.choice(list(ENDS)), servers[0]
    server.stdin.write(json.dumps([str(directory), kind, rng.random()]).encode() + b"\n")
    pid = int(server.stdout.readline())
    report = directory / "report"
    is_over = False
    while not (is_over or (report.exists() and "ready" in report.read_text())):
        is_over = bool(select.select([server.stdout], [], [], 0.01)[0])
    if kind != "SIGALRM" and not is_over:
        time.sleep(rng.choice([0.05, 0.3, 1]) * rng.random())
        os.kill(pid, getattr(signal, kind.split()[0]))
    hangs = not select.select([server.stdout], [], [], LIMIT)[0]
    if hangs:
        os.kill(pid, signal.SIGKILL)
    code, output = int(server.stdout.readline()), (directory / "output").read_text()
    assert not hangs, f"{kind}: hangs: {output}"
    if code == 9:
        return ["dropped by Python"]
    assert code == ENDS[kind], f"{kind}: ended with {code}: {output}"
    said = collections.defaultdict(list)
    for line in report.read_text().splitlines():
        what, number = line.split()
        said[what].append(int(number))
    safe = max([0, *said["flushed"], *said["saved"]]) if kind == "SIGKILL" else float("inf")
    try:
        check(directory / "run", said, safe)
    except Exception as error:
        error.add_note(f"{kind}: {output}")
        raise
    return [kind]


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        serve()
