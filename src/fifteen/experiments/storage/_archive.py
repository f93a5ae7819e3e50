"""A directory as one compressed file, `.tar.zst`, and back.

Zstandard verifies a checksum of all content.
"""

import functools
import os
import pathlib
import tarfile
import types
from typing import Any

from fifteen._progress import Advance, progress

from .._errors import ExperimentExistsError, UnsafePathError, import_extra
from . import _local
from ._directory import Directory
from ._move import contents_of, differing, digest_of

_CHUNK_BYTES = 1 << 20
_COMPRESSED_BYTES = 4096


def archive(directory: pathlib.Path, output: pathlib.Path) -> None:
    """Pack a directory, and compare the archive with it before the archive gets its name.

    Raises:
        ExperimentExistsError: the output exists already.
        UnsafePathError: the output is in the directory, or a file in it cannot be unpacked again.
        OSError: a file changed while it was read, or cannot be read.
    """
    # The path of an address is not a `pathlib.Path`.
    if not isinstance(directory, pathlib.Path):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UnsafePathError(
            f"{directory}: is an address; move it to a disk, and archive it there"
        )
    directory = pathlib.Path(os.path.abspath(directory))  # So that it ends with a name.
    if os.path.lexists(output):
        raise ExperimentExistsError(f"{output}: exists already; choose another name")
    if output.resolve().is_relative_to(directory.resolve()):
        raise UnsafePathError(f"{output}: is inside {directory}; choose another directory")
    zstandard = import_extra("zstandard", "archive", "archive")
    # Each byte is written, then read from the archive and from the directory to compare them.
    total = 3 * Directory(directory).usage().size
    with _local.atomic_file(output) as file, progress("Archiving", total) as advance:
        compressor = zstandard.ZstdCompressor(level=3, threads=-1, write_checksum=True)
        with compressor.stream_writer(file, closefd=False) as stream:

            def write(data: bytes) -> None:
                stream.write(data)
                advance(len(data))

            counted: Any = types.SimpleNamespace(write=write)
            with tarfile.open(
                fileobj=counted, mode="w|", bufsize=_CHUNK_BYTES, format=tarfile.PAX_FORMAT
            ) as tar:
                real = directory.resolve()
                tar.add(real, arcname=directory.name, filter=functools.partial(_chosen, real))
        file.seek(0)
        packed = _packed(zstandard, file, advance)
        if changed := differing(packed, contents_of(directory, advance)):
            problem = f"{changed[0]} changed while it was archived; archive it again"
            raise OSError(f"{directory}: {problem}")


def unarchive(path: pathlib.Path, destination: pathlib.Path) -> pathlib.Path:
    """Unpack an archive below a directory, and return the experiment's path.

    It appears there complete, once the archive has been verified.

    Raises:
        ExperimentExistsError: the experiment's name is taken.
        UnsafePathError: a member of the archive leads out of it.
        OSError: the archive is damaged, or the file is not one.
    """
    zstandard = import_extra("zstandard", "unarchive", "archive")
    _local.make_directory(destination)
    with _local.temporary_directory(destination / "archive") as temporary:
        _unpack(zstandard, path, temporary)
        names = os.listdir(temporary)
        if len(names) != 1 or not (temporary / names[0]).is_dir():
            raise OSError(f"{path}: expected a single directory in it, found {names[:5]}")
        target = destination / names[0]
        if os.path.lexists(target):
            raise ExperimentExistsError(f"{target}: exists already; choose another directory")
        (temporary / names[0]).rename(target)
    _local.sync_directory(destination)
    return target


def _unpack(zstandard: Any, path: pathlib.Path, target: pathlib.Path) -> None:
    try:
        with path.open("rb") as file, progress("Unpacking", path.stat().st_size) as advance:
            frame: Any = _Frame(zstandard, file, advance)
            with tarfile.open(fileobj=frame, mode="r|") as tar:
                for member in tar:
                    # Refuses absolute names, `..`, links to the outside, and devices.
                    tar.extract(member, target, filter="data")
            # The checksum is at the end.
            while frame.read(_CHUNK_BYTES):
                pass
    except tarfile.FilterError as error:
        raise UnsafePathError(f"{path}: refusing to unpack it: {error}") from None
    except (tarfile.TarError, EOFError, zstandard.ZstdError) as error:
        problem = f"{path}: damaged, or not an archive: {error}; nothing was unpacked"
        raise OSError(problem) from None


def _chosen(directory: pathlib.Path, member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Omit temporaries, and refuse members that `unarchive` would refuse."""
    # The archive may have the name of a link to the directory.
    path = pathlib.PurePath(directory.name, *pathlib.PurePath(member.name).parts[1:])
    if not _local.is_visible(path.name):
        return None
    try:
        tarfile.data_filter(member.replace(name=str(path), deep=False), str(directory.parent))
    except tarfile.FilterError as error:
        raise UnsafePathError(
            f"{directory}: {error}, which cannot be unpacked again; remove it and archive again"
        ) from None
    return member


class _Frame:
    """Read a Zstandard frame; raise an error if it is cut short, which `stream_reader` does not."""

    def __init__(self, zstandard: Any, file: Any, advance: Advance) -> None:
        self._file = file
        self._advance = advance
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._content = bytearray()

    def read(self, size: int) -> bytes:
        while len(self._content) < size and not self._frame.eof:
            # A hostile file holds some 30,000 times as many bytes as it takes.
            if not (data := self._file.read(_COMPRESSED_BYTES)):
                raise EOFError("it is cut short")
            self._advance(len(data))
            self._content += self._frame.decompress(data)
        content = bytes(self._content[:size])
        del self._content[:size]
        return content


def _packed(zstandard: Any, file: Any, advance: Advance) -> dict[str, str]:
    """Return what is at each path in an archive, as `contents_of` does for a directory."""
    found: dict[str, str] = {}
    reader = zstandard.ZstdDecompressor().stream_reader(file, closefd=False)
    with tarfile.open(fileobj=reader, mode="r|") as tar:
        for member in tar:
            name = member.name.partition("/")[2]
            if member.issym():
                found[name] = f"link to {member.linkname}"
            elif member.islnk():
                found[name] = found[member.linkname.partition("/")[2]]
            elif member.isdir():
                found[name] = "directory"
            elif (content := tar.extractfile(member)) is not None:
                pieces = iter(functools.partial(content.read, _CHUNK_BYTES), b"")
                found[name] = digest_of(pieces, advance)
    found.pop("")  # The directory itself.
    return found
