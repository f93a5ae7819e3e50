"""The `fifteen` command: look at experiments from a terminal."""

from ._main import main as main
