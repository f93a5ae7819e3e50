"""The live page: a server for the browsers of this machine, that only reads."""

import http.server
import sys
import urllib.parse
from typing import Any

from ._board import Board
from ._encoding import Sampling
from ._page import as_json, document

HOST = "127.0.0.1"
_MAX_POINTS = 5000
_MAX_RUNS = 100
_MAX_TAGS = 100


class Server(http.server.ThreadingHTTPServer):
    """Serve the page of a board.

    Only pages that this server sent may read what it answers: a request of another page has
    another `Origin`, one through a name that was made to lead here another `Host`.
    """

    daemon_threads = True

    def __init__(self, board: Board, port: int = 0) -> None:
        self.board = board
        self.page = document(board.title).encode()
        super().__init__((HOST, port), _Handler)
        self.hosts = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that has gone away."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"
    server_version = "fifteen"
    sys_version = ""

    def do_GET(self) -> None:
        if not self._is_own():
            self._send(403, "text/plain", b"only its own page may read this server\n")
            return
        path, _, query = self.path.partition("?")
        if path == "/":
            self._send(200, "text/html; charset=utf-8", self.server.page)
            return
        try:
            answer = self._answer(path, urllib.parse.parse_qs(query))
        except (ValueError, LookupError):
            self._send(400, "text/plain", b"not a question of the page\n")
            return
        if answer is None:
            self._send(404, "text/plain", b"not found\n")
            return
        self._send(200, "application/json", as_json(answer))

    def _is_own(self) -> bool:
        origin = self.headers.get("Origin")
        site = self.headers.get("Sec-Fetch-Site", "none")
        is_page = self.headers.get("Sec-Fetch-Dest") == "document"
        is_visit = is_page and self.headers.get("Sec-Fetch-Mode") == "navigate"
        return (
            self.headers.get("Host") in self.server.hosts
            and (origin is None or origin.removeprefix("http://") in self.server.hosts)
            # A link on another page may lead here; what that page fetches may not.
            and (site in ("none", "same-origin") or is_visit)
        )

    def _answer(self, path: str, query: dict[str, list[str]]) -> Any:
        board = self.server.board
        if path == "/table":
            return board.table(int(query.get("since", ["0"])[0]))
        if path == "/details":
            return board.details(query["run"][0])
        if path == "/where":
            return board.where(query["expression"][0])
        if path == "/curves":
            runs, tags = query.get("run", []), query.get("tag", [])
            over, x = query.get("over", [""])[0], query.get("x", ["step"])[0]
            window = [float(query[end][0]) for end in ("start", "end") if end in query]
            points = min(max(int(query["points"][0]), 2), _MAX_POINTS)
            sampling = Sampling(points, x, (window[0], window[1]) if window else None)
            return board.curves(runs[:_MAX_RUNS], tags[:_MAX_TAGS], over, sampling)
        return None

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Content-Security-Policy", "frame-ancestors 'none'")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of each request."""
