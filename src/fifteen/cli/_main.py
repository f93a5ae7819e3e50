"""The command line: its commands, its errors and its exit codes.

`fifteen.experiments` is imported only when a command runs, so that `fifteen --help` is fast.
"""

import atexit
import contextlib
import dataclasses
import functools
import gc
import importlib
import importlib.util
import inspect
import io
import itertools
import os
import re
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Generator, Sequence
from typing import Annotated, Any, Union

from fifteen._gc import gc_paused
from fifteen._progress import shown_on_stderr

from ._errors import CommandError, print_message

_COMMANDS = {
    "list": "List experiments: status, the fields that differ, values of scalars.",
    "show": "Show what is in experiments: metadata, checkpoints, and their scalars.",
    "compare": "Compare experiments: metadata that differ, and values of scalars.",
    "scalars": "Print every logged point of scalars, one per line.",
    "watch": "Show the running experiments live: progress, speed, the last values of scalars.",
    "plot": "Draw the curves of experiments in the terminal, or to a file.",
    "view": "Show experiments in the browser, live: a table, and the curves of the chosen ones.",
    "report": "Write the page that `view` shows as one file, which needs no server and no network.",
    "note": "Write a note or tags beside experiments, in `notes.yaml`.",
    "export": "Write every logged point of many experiments to one table.",
    "verify": "Read every file of experiments to its end, and compare all checksums.",
    "prune": "Remove old checkpoints; without `--yes`, only say which.",
    "rm": "Remove experiments with all that is in them; without `--yes`, only say which.",
    "archive": "Pack each experiment into one compressed file, and compare it.",
    "unarchive": "Unpack what `archive` has written, once all of it is verified.",
    "move": "Move experiments, also to another file system, and to or from an object store.",
    "doctor": "Say what is installed, and whether experiments work in a directory or object store.",
}
"""The commands, and the first line of their help."""

_MODULES = {"report": "view", "rm": "prune", "unarchive": "archive"}
"""The commands in another one's module; each of the others is in a module of its name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `fifteen` command.

    Args:
        arguments: what follows the program's name; that of this process by default.

    Returns:
        0; 1 after an error, printed in one line on stderr, or if something could not be read; 130
        after an interrupt, and 141 if the reader of the output has gone, as a shell reports either.

    Raises:
        SystemExit: help was asked for (0), or the arguments are wrong (2).
    """
    # The caller may have closed either.
    sys.stdout = sys.stdout or io.StringIO()
    sys.stderr = sys.stderr or io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal's encoding does not have must not end the command.
            stream.reconfigure(errors="backslashreplace")
    with _print_warnings(), shown_on_stderr():
        try:
            if arguments is None:
                arguments = sys.argv[1:]
                _start_quickly()
            code = _run(list(arguments))
            sys.stdout.flush()
        except BrokenPipeError:
            # Python flushes stdout once more when it exits, which must not fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 128 + signal.SIGPIPE
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
        except Exception as error:
            from fifteen.experiments import FifteenError

            if not isinstance(error, CommandError | OSError | FifteenError):
                raise
            print_message("error", error)
            for note in getattr(error, "__notes__", []):
                print_message("note", note)
            return 1
    return code


def _start_quickly() -> None:
    """Leave out what takes time and no command needs."""
    # Of tensorboardX, commands need only the messages: its writers take 0.1 s, more with boto3.
    if "tensorboardX" not in sys.modules and (spec := importlib.util.find_spec("tensorboardX")):
        sys.modules["tensorboardX"] = importlib.util.module_from_spec(spec)
    # No command multiplies matrices, for which NumPy would start a thread for each core.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # At the end, Python would search all that was imported for garbage.
    atexit.register(gc.freeze)


def _run(arguments: list[str]) -> int:
    if arguments == ["--version"]:
        from fifteen import __version__

        print(f"fifteen {__version__}")
        return 0

    import tyro

    config = (tyro.conf.FlagCreatePairsOff,)
    name = arguments[0] if arguments else ""
    if name in _COMMANDS:
        # The others are not imported: each of them takes time.
        command = _load(name)
        parse = functools.partial(
            tyro.cli, _deferred(command), prog=f"fifteen {name}", config=config
        )
        arguments = _joined(arguments[1:], command)
        call, unknown = parse(args=arguments, return_unknown_args=True)
        if unknown and not _add(call.keywords, unknown):
            parse(args=arguments)  # It says what is wrong, and exits.
        try:
            return call() or 0
        except Exception as error:
            if taken := _directories_among_names(call.keywords):
                others = [text for text in arguments if text not in taken]
                right = shlex.join(["fifteen", name, *taken, *others])
                error.add_note(f"directories come before options: {right}")
            raise
    # A shell that completes asks for all options; for help, names are enough.
    completes = any(argument.startswith("--tyro-") for argument in arguments)
    commands = [
        Annotated[
            Any,
            tyro.conf.subcommand(
                name, description=text, constructor=_load(name) if completes else _Command
            ),
        ]
        for name, text in _COMMANDS.items()
    ]

    # Of a union alone, tyro reads the source of `typing` to look for its help.
    def choose(command: Any) -> int | None:
        return command

    choose.__annotations__["command"] = Annotated[Union[*commands], tyro.conf.arg(name="")]
    code = tyro.cli(
        choose,
        prog="fifteen",
        description="Look at experiments: directories with metadata, checkpoints and curves.",
        args=arguments,
        config=config,
    )
    return code or 0


def _deferred(
    command: Callable[..., int | None],
) -> "Callable[..., functools.partial[int | None]]":
    """Return a function that takes the arguments of a command, and returns its call."""

    @functools.wraps(command)
    def bind(*args: Any, **options: Any) -> "functools.partial[int | None]":
        return functools.partial(command, *args, **options)

    return bind


def _joined(arguments: list[str], command: Callable[..., int | None]) -> list[str]:
    """Join the names of options that are repeated, of which tyro takes the last.

    `--tag a` takes all texts that follow, and `--tag=a` none of them.
    """
    types = {
        f"--{name}": getattr(parameter.annotation, "__origin__", None)
        for name, parameter in inspect.signature(command).parameters.items()
    }
    groups: dict[str | int, list[str]] = {0: []}
    group: str | int = 0
    for place, text in enumerate(arguments):
        option, *names = text.split("=", 1)
        if types.get(option) is tuple:
            group = 0 if names else option
            groups.setdefault(option, [option]).extend(names)
        else:
            group = place if text.startswith("-") else group
            groups.setdefault(group, []).append(text)
    return list(itertools.chain(*groups.values()))


def _add(options: dict[str, Any], texts: list[str]) -> bool:
    """Add directories and names that follow an option's value, as in `plot runs --over seed loss`.

    Tyro takes those that it finds first, and calls later ones unknown.
    """
    if any(text.startswith("-") for text in texts):
        return False
    if selection := options.get("selection"):
        options["selection"] = dataclasses.replace(selection, roots=(*selection.roots, *texts))
    elif "more" in options:
        options["more"] = (*options["more"], *texts)
    else:
        return False
    return True


def _directories_among_names(options: dict[str, Any]) -> list[str]:
    """Return what an option of several names took from a directory on, if none is before it."""
    if getattr(options.get("selection"), "roots", True):
        return []
    lists = [value for value in options.values() if isinstance(value, tuple)]
    begin_with_directory = functools.partial(
        itertools.dropwhile, lambda text: not os.path.isdir(text)
    )
    return list(itertools.chain(*map(begin_with_directory, lists)))


@gc_paused()
def _load(name: str) -> Callable[..., int | None]:
    function = "list_experiments" if name == "list" else name
    command = getattr(
        importlib.import_module(f"._{_MODULES.get(name, name)}", __package__), function
    )
    documented = inspect.unwrap(command)
    # tyro keeps the breaks in the lines about an argument.
    documented.__doc__ = re.sub(r"\n {12}", " ", documented.__doc__ or "")
    return command


@dataclasses.dataclass
class _Command:
    """A command without options, which is never called.

    A class, since tyro would import all of typeguard to check the types of a function.
    """


@contextlib.contextmanager
def _print_warnings() -> Generator[None]:
    """Show each warning once, in one line on stderr, as errors are shown."""
    printed: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        # By its module, so that nothing is imported for it. A file may be read more than once.
        if category.__module__.startswith("fifteen.") and str(message) not in printed:
            printed.add(str(message))
            print_message("warning", message)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = show
        yield
