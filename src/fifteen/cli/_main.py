"""The command line: what is asked for, and how it ends.

`fifteen.experiments` is imported only when a command runs, so that `fifteen --help` is fast.
"""

import contextlib
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Generator, Sequence
from typing import Any

from ._errors import CommandError, tell

_DESCRIPTION = "Look at experiments: directories with metadata, checkpoints and curves."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `fifteen` command.

    Args:
        arguments: what follows the program's name; that of this process by default.

    Returns:
        0; 1 after an error, told in one line on stderr, or if something could not be read; 130
        after an interrupt, and 141 if the reader of the output has gone, as a shell reports either.

    Raises:
        SystemExit: help was asked for (0), or the arguments are wrong (2).
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal's encoding does not have must not end the command.
            stream.reconfigure(errors="backslashreplace")
    with _tell_warnings():
        try:
            code = _run(sys.argv[1:] if arguments is None else list(arguments))
            sys.stdout.flush()
        except BrokenPipeError:
            # Python flushes stdout once more when it exits, which must not fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 128 + signal.SIGPIPE
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
        except Exception as error:
            if not _is_expected(error):
                raise
            tell("error", error)
            return 1
    return code


def _run(arguments: list[str]) -> int:
    if arguments == ["--version"]:
        from fifteen import __version__

        print(f"fifteen {__version__}")
        return 0

    import tyro

    from ._compare import compare
    from ._list import list_experiments
    from ._move import move
    from ._plot import plot
    from ._scalars import scalars
    from ._show import show

    commands: dict[str, Callable[..., int | None]] = {
        "list": list_experiments,
        "show": show,
        "compare": compare,
        "scalars": scalars,
        "plot": plot,
        "move": move,
    }
    code = tyro.extras.subcommand_cli_from_dict(
        commands,
        prog="fifteen",
        description=_DESCRIPTION,
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    return code or 0


@contextlib.contextmanager
def _tell_warnings() -> Generator[None]:
    """Show each warning in one line on stderr, as errors are shown."""

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        # By its module, so that nothing is imported for it.
        if category.__module__.startswith("fifteen."):
            tell("warning", message)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = show
        yield


def _is_expected(error: Exception) -> bool:
    if isinstance(error, CommandError | OSError):
        return True
    from fifteen.experiments import FifteenError

    return isinstance(error, FifteenError)
