"""An HTTP proxy with the faults of a real network."""

import contextlib
import http.client
import http.server
import random
import socket
import threading
from typing import NamedTuple


class Request(NamedTuple):
    method: str
    path: str
    nbytes: int


class FaultyProxy:
    """Forward HTTP requests to a local server, and count them.

    Attributes:
        requests: the forwarded requests.
        refused: how many got a 503, or were cut before or after the server saw them.
        held: how many wait for `release`.
        cuts_left: how many answers are cut in the middle of their content.
    """

    def __init__(self, server_port):
        self.requests: list[Request] = []
        self.refused = 0
        self._random = random.Random(0)
        self._rate = 0.0
        self._is_off = False
        self._answer = self._times_left = None
        self.cuts_left = 0
        self.held = 0
        self._held_part = ""
        self._open = threading.Event()
        self._open.set()
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            disable_nagle_algorithm = True

            def setup(self):
                super().setup()
                with proxy._lock:
                    proxy._connections.add(self.connection)

            def finish(self):
                with proxy._lock:
                    proxy._connections.discard(self.connection)
                with contextlib.suppress(OSError):
                    super().finish()
                # Left open if the answer could not be flushed, and the socket with it.
                self.rfile.close()

            def handle(self):
                with contextlib.suppress(OSError, http.client.HTTPException):
                    super().handle()

            def forward(self):
                proxy._forward(self, server_port)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_):
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._open.set()
        self.turn_off()
        self._server.shutdown()
        self._server.server_close()

    def fail_at_random(self, seed, rate):
        """Fail this share of all requests: a third before the server sees them, a third after
        it has, and a third with a 503."""
        self._random, self._rate = random.Random(seed), rate

    def answer_with(self, status, body=b"", part="", times=None):
        """Answer requests whose path contains a text, or the first of them; None forwards them."""
        self._answer = None if status is None else (status, body, part)
        self._times_left = times

    def turn_off(self):
        """Cut all connections and refuse new ones."""
        self._is_off = True
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def turn_on(self):
        self._is_off = False

    def hold(self, part=""):
        """Delay all requests whose path contains a text until `release`."""
        self.held, self._held_part = 0, part
        self._open.clear()

    def release(self):
        self._open.set()

    def sent(self, method, part=""):
        """Return the sizes of requests with this method whose path contains a text."""
        return [
            request.nbytes
            for request in list(self.requests)
            if request.method == method and part in request.path
        ]

    def _forward(self, handler, server_port):
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        if self._held_part in handler.path:
            with self._lock:
                self.held += 1
            self._open.wait()
        with self._lock:
            fault = self._random.choice(["before", "after", "503"])
            if self._random.random() >= self._rate:
                fault = ""
            self.refused += bool(fault)
        if self._is_off or fault == "before":
            handler.close_connection = True
            return
        answer = (503, b"", "") if fault == "503" else self._answer
        if answer and answer[2] in handler.path and self._times_left != 0:
            if self._times_left is not None:
                self._times_left -= 1
            handler.send_response(answer[0])
            handler.send_header("Content-Length", str(len(answer[1])))
            handler.end_headers()
            if handler.command != "HEAD":
                handler.wfile.write(answer[1])
            return
        self.requests.append(Request(handler.command, handler.path, len(body)))
        server = http.client.HTTPConnection("127.0.0.1", server_port, timeout=60)
        with contextlib.closing(server):
            server.putrequest(
                handler.command, handler.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in handler.headers.items():
                if name.lower() != "connection":
                    server.putheader(name, value)
            server.endheaders(body)
            response = server.getresponse()
            content = response.read()
        if self._is_off or fault == "after":
            handler.close_connection = True
            return
        handler.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                handler.send_header(name, value)
        length = response.getheader("Content-Length") if handler.command == "HEAD" else None
        handler.send_header("Content-Length", length or str(len(content)))
        handler.end_headers()
        if self.cuts_left and handler.command == "GET":
            self.cuts_left -= 1
            content = content[: len(content) // 2]
            handler.close_connection = True
        handler.wfile.write(content)
