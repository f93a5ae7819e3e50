"""A command on a pseudo-terminal."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time

# Ctrl-C reaches only processes whose controlling terminal this is.
RUN = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
import fifteen._progress
from fifteen.cli import main
if {at_once}:
    fifteen._progress._DELAY_SECONDS = 0
sys.exit(main())
"""


class Terminal:
    """Run a command on a terminal of a given width; its stdout may go to a file instead.

    With `at_once`, progress bars are shown without a delay.
    """

    def __init__(self, *arguments, cwd=None, columns=80, output=None, at_once=False):
        self._terminal, end = pty.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self._settings = termios.tcgetattr(end)
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN.format(at_once=at_once), *map(str, arguments)],
            cwd=cwd,
            stdin=end,
            stdout=output or end,
            stderr=end,
            env=os.environ | {"TERM": "xterm-256color", "COLUMNS": str(columns)},
            start_new_session=True,
        )
        # Otherwise reading would not end with the process.
        os.close(end)
        self.output = ""
        self._seen = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self._terminal)

    def wait_for(self, *patterns):
        """Wait until a row of new output matches all patterns."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            rows = re.split(r"[\r\n]", self.output[self._seen :])[:-1]
            for row in rows:
                if all(re.search(pattern, row) for pattern in patterns):
                    self._seen = len(self.output)
                    return row
            if not self._read():
                break
        raise AssertionError((patterns, self.output))

    def interrupt(self):
        os.write(self._terminal, b"\x03")

    def end(self):
        """Wait until the command ends, and return its exit code."""
        while self._read():
            pass
        assert termios.tcgetattr(self._terminal) == self._settings
        return self.process.wait(60)

    def _read(self):
        # Unread output would block the command.
        ready, _, _ = select.select([self._terminal], [], [], 60)
        assert ready, self.output
        try:
            piece = os.read(self._terminal, 65536)
        except OSError:  # The process has closed the other end.
            return False
        self.output += piece.decode(errors="replace").replace("\r\n", "\n")
        return bool(piece)
