"""The page: one document with all that it needs, the same for the live view and the report."""

import base64
import gzip
import hashlib
import html
import importlib.resources
import json
import pathlib
import re
from typing import Any

from fifteen._text import encodable
from fifteen.experiments._errors import import_extra

_LIBRARIES = ("bokeh.min.js", "bokeh-api.min.js")
_POLICY = (
    "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src {sources}; base-uri 'none'; form-action 'none'"
)


def document(title: str, data: str = "") -> str:
    """Return the page, with data as `packed` returns it; without any, it asks its server."""
    bokeh = import_extra("bokeh", "the page in the browser", "view")
    folder = pathlib.Path(bokeh.__file__).parent / "server" / "static" / "js"
    scripts = [(folder / name).read_text(encoding="utf-8") for name in _LIBRARIES]
    scripts = [_inline(text) for text in [*scripts, asset("page.js")]]
    sources = "'none'" if data else "'self'"
    policy = _POLICY.format(scripts=" ".join(map(_hash, scripts)), sources=sources)
    parts = {
        "POLICY": html.escape(policy),
        "TITLE": html.escape(encodable(title)),
        "STYLE": asset("page.css"),
        "DATA": data,
        "SCRIPTS": "\n".join(f"<script>{text}</script>" for text in scripts),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], asset("page.html"))


def packed(answers: dict[str, Any]) -> str:
    """Return answers as text that is safe in a page: JSON, compressed, in base64."""
    return base64.b64encode(gzip.compress(as_json(answers), 5, mtime=0)).decode("ascii")


def as_json(answer: Any) -> bytes:
    """Return an answer as JSON, which escapes bytes of a file's name that are not text."""
    text = json.dumps(answer, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode(errors="backslashreplace")


def asset(name: str) -> str:
    file = importlib.resources.files("fifteen.view") / "assets" / name
    return file.read_text(encoding="utf-8")


def _inline(script: str) -> str:
    """Return a script that does not end early where it names the end of a script."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
