"""Processes that start at once: each is forked from one that has imported what scripts need.

Importing JAX takes a second. Otherwise each is a process of its own: it may be killed, and its
script runs at the top level and ends as any other does.
"""

import atexit
import contextlib
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

IMPORTS = (
    "jax.numpy, fifteen.experiments.checkpoints, fifteen.experiments.events.writing, tensorboardX, "
    "fifteen.experiments._log_data"
)
SERVER = """
import gc, json, os, signal, socket, sys, warnings
import IMPORTS

gc.freeze()  # Otherwise, each process would look at all that is imported when it ends.
server = socket.socket(fileno=int(sys.argv[1]))
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Nothing waits for those that wait for scripts.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # JAX warns of every fork; here, it has no threads yet.
    while True:
        message, received, _, _ = socket.recv_fds(server, 1 << 20, 4)
        if not os.fork():
            break
        for stream in received:
            os.close(stream)
    *streams, status = received
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if child := os.fork():
        for stream in streams:
            os.close(stream)
        os.write(status, b"%d\\n" % child)
        os.write(status, b"%d\\n" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        os._exit(0)
server.close()
os.close(status)
for number, stream in enumerate(streams):
    os.dup2(stream, number)
    os.close(stream)
code, arguments, environment = json.loads(message)
os.environ.clear()
os.environ.update(environment)
sys.argv = ["-c", *arguments]
exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
"""


@functools.cache
def _server(imports):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    code = SERVER.replace("IMPORTS", imports)
    command = [sys.executable, "-c", code, str(theirs.fileno())]
    with theirs:
        process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )

    atexit.register(process.kill)
    return ours


class Process:
    """Run code in a process; like a `subprocess.Popen` whose three streams are pipes of text."""

    def __init__(self, code, *arguments, env=None, imports=IMPORTS):
        message = json.dumps(
            [code, [str(argument) for argument in arguments], env or {**os.environ}]
        )
        pipes = [os.pipe() for _ in range(4)]
        theirs = [pipes[0][0], *(end for _, end in pipes[1:])]
        socket.send_fds(_server(imports), [message.encode()], theirs)
        for end in theirs:
            os.close(end)
        self.stdin = os.fdopen(pipes[0][1], "w")
        self.stdout, self.stderr = (os.fdopen(end) for end, _ in pipes[1:3])
        self._status = pipes[3][0]
        self.returncode = None
        self.pid = self._read_number()

    def _read_number(self):
        # Byte by byte, so that `select` sees whether there is another.
        return int(b"".join(iter(lambda: os.read(self._status, 1), b"\n")))

    def poll(self):
        return self._wait(0)

    def wait(self, timeout=None):
        if self._wait(timeout) is None:
            raise subprocess.TimeoutExpired("a warm process", timeout)
        return self.returncode

    def _wait(self, timeout):
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            self.returncode = self._read_number()
            os.close(self._status)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # It has ended since.
                os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def communicate(self, text="", timeout=None):
        with ThreadPoolExecutor(2) as threads, self:
            outputs = [threads.submit(stream.read) for stream in (self.stdout, self.stderr)]
            with contextlib.suppress(BrokenPipeError):  # It has ended.
                os.write(self.stdin.fileno(), text.encode())
            self.stdin.close()
            try:
                self.wait(timeout)
            except BaseException:
                self.kill()
                raise
            return tuple(output.result() for output in outputs)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wait()
        for stream in (self.stdin, self.stdout, self.stderr):
            stream.close()


def run(code, *arguments, env=None, timeout=120):
    """Run code in a process, and return what `subprocess.run` does."""
    process = Process(code, *arguments, env=env)
    output, errors = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(code, process.returncode, output, errors)
