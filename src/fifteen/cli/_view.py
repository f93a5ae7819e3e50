"""`fifteen view`."""

import contextlib
import os
import webbrowser
from typing import Annotated

from tyro.conf import arg

from fifteen._text import printable

from ._arguments import Flag
from ._errors import CommandError
from ._selection import Chosen, Selection, find_all


def view(
    selection: Chosen = Selection(),
    port: Annotated[int, arg(metavar="PORT", help_behavior_hint="")] = 0,
    open: Flag = False,
) -> None:
    """Show experiments in the browser, live: a table, and the curves of the chosen ones.

    Nothing is written, and only this page on this machine can read it. Ctrl-C ends it.

    Args:
        selection: the experiments.
        port: where to listen; a free port by default.
        open: open the page in the browser.
    """
    from fifteen.view._board import Board
    from fifteen.view._server import Server

    if not 0 <= port < 1 << 16:
        raise CommandError(f"--port: expected 0 to 65535, found {port}")
    count = len(selection.find())  # A mistake is reported now, and not in the page.
    board = Board(lambda: find_all(selection.roots), selection.choose, title_of(selection))
    try:
        server = Server(board, port)
    except OSError as error:
        message = f"--port: {port} cannot be used: {error.strerror}; leave it out for a free one"
        raise CommandError(message) from None
    print(printable(f"{count} experiments below {selection}: {server.address}"), flush=True)
    if open:
        webbrowser.open(server.address)
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


def title_of(selection: Selection) -> str:
    """Return what a page about experiments is called."""
    names = (os.path.basename(os.path.abspath(root)) for root in selection.roots or ("",))
    return " ".join(names)
