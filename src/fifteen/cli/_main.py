"""The command line: what is asked for, and how it ends.

JAX is imported only once a command runs, so that `fifteen --help` answers fast.
"""

import contextlib
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Generator, Sequence
from typing import Any

from ._errors import CommandError

_DESCRIPTION = "Look at experiments: directories with metadata, checkpoints and curves."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `fifteen` command.

    Args:
        arguments: what follows the program's name; that of this process by default.

    Returns:
        0; 1 after an error, which is told in one line on stderr; 130 after an interrupt, and 141
        where whoever read the output has gone, as a shell reports either.

    Raises:
        SystemExit: help was asked for (0), or the arguments are wrong (2).
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal's encoding does not have must not end the command.
            stream.reconfigure(errors="backslashreplace")
    with _tell_warnings():
        try:
            _run(sys.argv[1:] if arguments is None else list(arguments))
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
            _tell("error", error)
            return 1
    return 0


def _run(arguments: list[str]) -> None:
    if arguments == ["--version"]:
        from fifteen import __version__

        print(f"fifteen {__version__}")
        return

    import tyro

    from ._compare import compare
    from ._list import list_experiments
    from ._move import move
    from ._scalars import scalars
    from ._show import show

    commands: dict[str, Callable[..., None]] = {
        "list": list_experiments,
        "show": show,
        "compare": compare,
        "scalars": scalars,
        "move": move,
    }
    tyro.extras.subcommand_cli_from_dict(
        commands,
        prog="fifteen",
        description=_DESCRIPTION,
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff,),
    )


@contextlib.contextmanager
def _tell_warnings() -> Generator[None]:
    """Show each warning in one line on stderr, as errors are shown."""

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        # By its module, since importing our warnings would import JAX.
        if category.__module__.startswith("fifteen."):
            _tell("warning", message)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = show
        yield


def _is_expected(error: Exception) -> bool:
    if isinstance(error, CommandError | OSError):
        return True
    from fifteen.experiments import FifteenError

    return isinstance(error, FifteenError)


def _tell(kind: str, message: object) -> None:
    print(f"fifteen: {kind}: {' '.join(str(message).split())}", file=sys.stderr)
