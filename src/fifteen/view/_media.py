"""Texts and images that `summary_writer` wrote, from event files."""

import base64
import pathlib
from collections.abc import Iterator
from typing import Any

from google.protobuf.message import DecodeError

from fifteen.experiments.events.reading._event_file import event_files
from fifteen.experiments.events.reading._records import scan
from fifteen.experiments.events.reading._values import parse
from fifteen.experiments.storage import Directory

Media = list[tuple[str, int, str]]
"""Tag, step and text; of an image, a `data:` address."""

_CHUNK_BYTES = 4 << 20
_MAX_RECORD_BYTES = 1 << 26
_IMAGES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}
"""How the files begin that a browser shows."""
_MAX_ITEMS = 200


def read_media(path: pathlib.Path) -> tuple[Media, Media]:
    """Return the texts and the images in an experiment's event files, the latest ones if many."""
    texts: Media = []
    images: Media = []
    directory = Directory(path)
    for name in event_files(directory):
        text_tags: set[str] = set()
        for event in _events(directory, name):
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "text":
                    text_tags.add(value.tag)
                if value.HasField("image"):
                    address = _address(value.image.encoded_image_string)
                    images += [(value.tag, event.step, address)] if address else []
                elif value.HasField("tensor") and value.tag in text_tags:
                    lines = [text.decode(errors="replace") for text in value.tensor.string_val]
                    tag = value.tag.removesuffix("/text_summary")
                    texts.append((tag, event.step, "\n".join(lines)))
                elif value.HasField("tensor") and len(value.tensor.string_val) > 2:
                    # TensorFlow's images are width, height, and then the files.
                    found = map(_address, value.tensor.string_val[2:])
                    images += [(value.tag, event.step, address) for address in found if address]
    return texts[-_MAX_ITEMS:], images[-_MAX_ITEMS:]


def _events(directory: Directory, name: str) -> Iterator[Any]:
    """Yield the events of a file that may hold a text or an image."""
    try:
        with directory.open(name) as file:
            at, needed, gap = 0, _CHUNK_BYTES, None
            while at < file.size:
                buffer = file.read(at, min(at + needed, file.size))
                if len(buffer) == file.size and not _may_hold_media(buffer):
                    return
                found = scan(buffer, at, file.size, gap)
                for payload in found.payloads:
                    # Nearly all events hold scalars alone, and are not parsed.
                    if _may_hold_media(payload):
                        try:
                            yield parse(payload)
                        except DecodeError:
                            continue
                if found.end <= at or found.needed > _MAX_RECORD_BYTES:
                    return
                at, gap, needed = found.end, found.gap, max(_CHUNK_BYTES, found.needed)
    except OSError:
        return


def _may_hold_media(data: bytes) -> bool:
    return b"text" in data or any(start in data for start in _IMAGES)


def _address(content: bytes) -> str:
    """Return an image as an address; an empty one if it is of a kind that is not shown."""
    for start, kind in _IMAGES.items():
        if content.startswith(start):
            return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
    return ""
