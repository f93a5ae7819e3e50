"""An S3 server that keeps objects in memory, fast enough not to hide what its clients cost.

    python benchmarks/memory_s3.py MILLISECONDS PORT

Each answer takes that much longer, as in a network.
"""

import email.utils
import hashlib
import http.server
import itertools
import re
import sys
import threading
import time
import urllib.parse
from collections.abc import Mapping
from types import MappingProxyType
from xml.sax.saxutils import escape

MAX_KEYS = 1000

objects: dict[str, list[bytearray]] = {}
"""The parts of each object, by bucket and key."""
uploads: dict[str, dict[int, bytearray]] = {}
numbers = itertools.count()
lock = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answer what obstore and s3fs ask."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def _parsed(self) -> tuple[str, dict[str, str]]:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        return urllib.parse.unquote(url.path).strip("/"), query

    def _body(self) -> bytearray:
        body = bytearray(int(self.headers.get("Content-Length", 0)))
        view, done = memoryview(body), 0
        while done < len(body):
            done += self.rfile.readinto(view[done:])
        return body

    def _answer(
        self,
        body: "bytes | bytearray | memoryview" = b"",
        status: int = 200,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        time.sleep(float(sys.argv[1]) / 1000)
        self.send_response_only(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def _described(self, parts: list[bytearray]) -> dict[str, str]:
        return {
            "ETag": _tag(parts),
            "Last-Modified": email.utils.formatdate(usegmt=True),
            "Accept-Ranges": "bytes",
        }

    def do_PUT(self) -> None:
        """Take a bucket, an object or a part."""
        key, query = self._parsed()
        body = self._body()
        if "partNumber" in query:
            uploads[query["uploadId"]][int(query["partNumber"])] = body
        elif "/" in key:
            objects[key] = [body]
        self._answer(headers={"ETag": _tag([body])})

    def do_POST(self) -> None:
        """Begin or complete an upload, or delete many objects."""
        key, query = self._parsed()
        body = self._body()
        if "uploads" in query:
            upload = str(next(numbers))
            uploads[upload] = {}
            text = f"<UploadId>{upload}</UploadId>"
            text = f"<InitiateMultipartUploadResult>{text}</InitiateMultipartUploadResult>"
        elif "uploadId" in query:
            objects[key] = [part for _, part in sorted(uploads.pop(query["uploadId"]).items())]
            text = f"<ETag>{escape(_tag(objects[key]))}</ETag>"
            text = f"<CompleteMultipartUploadResult>{text}</CompleteMultipartUploadResult>"
        else:
            found = re.findall("<Key>.*?</Key>", body.decode())
            for name in found:
                objects.pop(f"{key}/{name[5:-6]}", None)
            deleted = "".join(f"<Deleted>{name}</Deleted>" for name in found)
            text = f"<DeleteResult>{deleted}</DeleteResult>"
        self._answer(text.encode())

    def do_HEAD(self) -> None:
        """Describe an object."""
        parts = objects.get(self._parsed()[0])
        if parts is None:
            self._answer(status=404)
        else:
            size = str(sum(map(len, parts)))
            self._answer(headers={**self._described(parts), "Content-Length": size})

    def do_GET(self) -> None:
        """Return a listing or an object, or a range of it."""
        key, query = self._parsed()
        if "/" not in key:
            self._list(key, query)
            return
        parts = objects.get(key)
        if parts is None:
            self._answer(b"<Error><Code>NoSuchKey</Code></Error>", 404)
            return
        size = sum(map(len, parts))
        begin, end = 0, size
        wanted = self.headers.get("Range")
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            begin, end = int(first), min(size, int(last) + 1) if last else size
        if wanted and begin >= size:
            self._answer(b"<Error><Code>InvalidRange</Code></Error>", 416)
            return
        pieces, at = [], 0
        for part in parts:
            pieces.append(memoryview(part)[max(0, begin - at) : max(0, end - at)])
            at += len(part)
        pieces = [piece for piece in pieces if piece]
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        headers = self._described(parts)
        if wanted:
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
        self._answer(body, 206 if wanted else 200, headers)

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        after = query.get("continuation-token", query.get("start-after", ""))
        now = email.utils.localtime().astimezone().strftime("%Y-%m-%dT%H:%M:%S.000Z")
        text: list[str] = []
        last = ""
        with lock:
            keys = sorted(key.partition("/")[2] for key in objects if key.startswith(f"{bucket}/"))
        found = [key for key in keys if key.startswith(prefix) and key > after]
        for key in found:
            if len(text) == MAX_KEYS:
                break
            end = key.find(delimiter, len(prefix)) if delimiter else -1
            if end >= 0:
                folder = key[: end + 1]
                if not last.startswith(folder):
                    text.append(
                        f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>"
                    )
            else:
                parts = objects[f"{bucket}/{key}"]
                text.append(
                    f"<Contents><Key>{escape(key)}</Key><LastModified>{now}</LastModified>"
                    f"<ETag>{escape(_tag(parts))}</ETag><Size>{sum(map(len, parts))}</Size>"
                    "</Contents>"
                )
            last = key
        is_cut = bool(found) and last != found[-1]
        text.append(f"<IsTruncated>{str(is_cut).lower()}</IsTruncated>")
        if is_cut:
            text.append(f"<NextContinuationToken>{escape(last)}</NextContinuationToken>")
        self._answer(f"<ListBucketResult>{''.join(text)}</ListBucketResult>".encode())

    def do_DELETE(self) -> None:
        """Delete an object, or abort an upload."""
        key, query = self._parsed()
        if "uploadId" in query:
            uploads.pop(query["uploadId"], None)
        objects.pop(key, None)
        self._answer(status=204)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _tag(parts: list[bytearray]) -> str:
    """Return a tag of the beginnings: one of everything would cost more than what is measured."""
    begin = b"".join(bytes(part[:256]) + len(part).to_bytes(8, "little") for part in parts)
    return f'"{hashlib.md5(begin).hexdigest()}"'


class Server(http.server.ThreadingHTTPServer):
    """A thread for each connection."""

    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
