"""Checkpoints of several processes in an object store, if their manifest or files are not ours."""

import json

import google_crc32c
import numpy as np
import pytest
import safetensors.numpy

from fifteen.experiments import CheckpointDamagedError

MANIFEST = "fifteen-shards.json"
FILES = ["0123abcd.0.safetensors", "0123abcd.1.safetensors"]
W = np.arange(24, dtype=np.float32).reshape(4, 6)
PARTS = [[0, [0, 0], [2, 6]], [1, [2, 0], [4, 6]]]
LEAVES = [["w", "float32", [4, 6], None, *PARTS], ["b", "int64", [3], None]]
KEYS = [["w", "key<fry>", [4], "threefry2x32", [0, [0, 0], [2, 2]], [1, [2, 0], [4, 2]]]]


def sealed(described):
    rest = json.dumps(described)[1:]
    return f'{{"crc32c":"{google_crc32c.value(rest.encode()):08x}",{rest}'


@pytest.fixture
def directory(handle):
    path = handle.directory / "checkpoint_3"
    path.mkdir(parents=True)
    first = {"w/0,0": W[:2].copy(), "b": np.arange(3)}
    safetensors.numpy.save_file(first, path / FILES[0])
    safetensors.numpy.save_file({"w/2,0": W[2:].copy()}, path / FILES[1])
    return path


def write(directory, leaves=LEAVES, files=FILES, structure=None):
    structure = {"w": 0, "b": 1} if structure is None else structure
    described = {"files": files, "structure": structure, "leaves": leaves}
    (directory / MANIFEST).write_text(sealed(described))


def error_of(handle):
    with pytest.raises(CheckpointDamagedError) as caught:
        handle.restore(None)
    assert "checkpoint_3" in str(caught.value)
    return str(caught.value)


def test_manifest_by_hand_is_read(handle, directory, assert_same):
    write(directory)
    assert_same(handle.restore(None), {"w": W, "b": np.arange(3)})


@pytest.mark.parametrize(
    "files",
    [
        ["../../secret.safetensors", FILES[1]],
        ["/etc/passwd", FILES[1]],
        [f"inside/{FILES[0]}", FILES[1]],
        ["", FILES[1]],
        [7, FILES[1]],
        [None, FILES[1]],
        "name",
        7,
    ],
)
def test_only_files_in_the_directory_are_read(handle, directory, files):
    outside = {"w/0,0": np.full((2, 6), 99, np.float32), "b": np.arange(3)}
    safetensors.numpy.save_file(outside, handle.directory.parent / "secret.safetensors")
    (directory / "inside").mkdir()
    safetensors.numpy.save_file(outside, directory / "inside" / FILES[0])
    write(directory, files=files)
    assert MANIFEST in error_of(handle)


@pytest.mark.parametrize(
    "parts",
    {
        "no such file": [[0, [0, 0], [2, 6]], [2, [2, 0], [4, 6]]],
        "a negative file": [[0, [0, 0], [2, 6]], [-1, [2, 0], [4, 6]]],
        "a file that is no number": [[0, [0, 0], [2, 6]], [True, [2, 0], [4, 6]]],
        "a gap": [[0, [0, 0], [2, 6]]],
        "a gap in the middle": [[0, [0, 0], [2, 6]], [1, [3, 0], [4, 6]]],
        "an overlap": [[0, [0, 0], [3, 6]], [1, [2, 0], [4, 6]]],
        "twice the same": [*PARTS, [1, [2, 0], [4, 6]]],
        "too many axes": [[0, [0, 0, 0], [2, 6, 1]], [1, [2, 0, 0], [4, 6, 1]]],
        "too few axes": [[0, [0], [2]], [1, [2], [4]]],
        "another number of axes": [[0, [0, 0], [2, 6]], [1, [2, 0, 0], [4, 6, 1]]],
        "a begin without an end": [[0, [0, 0], [2, 6]], [1, [2, 0], [4]]],
        "negative": [[0, [-2, 0], [2, 6]], [1, [2, 0], [4, 6]]],
        "out of the shape": [[0, [0, 0], [2, 6]], [1, [2, 0], [9, 6]]],
        "fractions": [[0, [0, 0], [2.0, 6]], [1, [2.0, 0], [4, 6]]],
        "texts": [[0, ["0", 0], ["2", 6]], [1, ["2", 0], ["4", 6]]],
        "no list": [7],
        "too short": [[0, [0, 0]], [1, [2, 0], [4, 6]]],
        "huge": [[0, [0, 0], [1 << 60, 6]]],
    }.items(),
    ids=lambda item: item[0],
)
def test_parts_that_do_not_cover_a_leaf_once_are_damage(handle, directory, parts):
    write(directory, [["w", "float32", [4, 6], None, *parts[1]], LEAVES[1]])
    error = error_of(handle)
    assert MANIFEST in error
    assert "w: " in error


@pytest.mark.parametrize(
    "leaf",
    [
        ["w", "float32", [4, -6], None, *PARTS],
        ["w", "float32", "46", None, *PARTS],
        ["w", "float32", 4, None, *PARTS],
        ["w", "no_such", [4, 6], None, *PARTS],
        ["w", "object", [4, 6], None, *PARTS],
        ["w", 32, [4, 6], None, *PARTS],
        ["w", "float32", [4, 6], 7, *PARTS],
        ["w", "float32", [4, 6], "threefry2x32", *PARTS],
        ["w", "key<fry>", [4, 6], None, *PARTS],
        ["b", "int64", [3], None],
        [7, "int64", [3], None],
        ["w", "float32"],
        "w",
        None,
    ],
)
def test_leaf_that_is_not_described_is_damage(handle, directory, leaf):
    write(directory, [leaf, LEAVES[1]])
    assert "w: " in error_of(handle) or MANIFEST in error_of(handle)


@pytest.mark.parametrize("text", ["[]", "7", "null", '{"crc32c": 7}', "[" * 100_000, "\xff", ""])
def test_manifest_that_is_no_manifest_is_damage(handle, directory, text):
    (directory / MANIFEST).write_bytes(text.encode("latin-1"))
    assert MANIFEST in error_of(handle)


@pytest.mark.parametrize("described", [{}, {"files": [], "structure": None, "leaves": 7}])
def test_manifest_without_its_entries_is_damage(handle, directory, described):
    (directory / MANIFEST).write_text(sealed({"a": 1} | described))
    assert MANIFEST in error_of(handle)


@pytest.mark.parametrize("structure", [{"w": 0}, {"w": 0, "b": 5}, "text", 7, {"w": 0, "b": 0}])
def test_structure_without_each_leaf_once_is_damage(handle, directory, structure):
    write(directory, structure=structure)
    assert "structure" in error_of(handle)


@pytest.mark.parametrize(
    "stored",
    [
        {"w/2,0": np.zeros((2, 5), np.float32)},
        {"w/2,0": np.zeros((3, 6), np.float32)},
        {"w/2,0": np.zeros((1, 1), np.float32)},
        {"w/2,0": np.zeros(12, np.float32)},
        {"w/2,0": np.zeros((2, 6), np.int32)},
        {"w/2,0": np.zeros((2, 6), np.float64)},
    ],
)
def test_part_of_another_shape_or_dtype_is_damage(handle, directory, stored):
    safetensors.numpy.save_file(stored, directory / FILES[1])
    write(directory)
    error = error_of(handle)
    assert f"{FILES[1]}: w: expected float32[2,6], found" in error


def test_leaf_of_one_process_with_another_shape_is_damage(handle, directory):
    write(directory, [LEAVES[0], ["b", "int64", [4], None]])
    assert f"{FILES[0]}: b: expected int64[4], found int64[3]" in error_of(handle)


def test_leaf_that_is_in_no_file_is_damage(handle, directory):
    write(directory, [["v", *LEAVES[0][1:]], LEAVES[1]], structure={"v": 0, "b": 1})
    assert f"{FILES[0]}: v: " in error_of(handle)


def test_huge_leaf_is_refused_before_memory_is_allocated(handle, directory):
    write(directory, [["w", "float32", [1 << 50, 6], None, [0, [0, 0], [1 << 50, 6]]], LEAVES[1]])
    assert f"{FILES[0]}: w: expected float32[{1 << 50},6]" in error_of(handle)


def test_data_of_keys_has_one_axis_more(handle, directory):
    data = np.arange(8, dtype=np.uint32).reshape(4, 2)
    for number, name in enumerate(FILES):
        part = {f"w/{2 * number},0": data[2 * number : 2 * number + 2].copy()}
        safetensors.numpy.save_file(part, directory / name)
    write(directory, KEYS, structure={"w": 0})
    assert str(handle.leaves()["w"]) == "key<fry>[4]"
    assert handle.restore(None)["w"].shape == (4,)
    write(directory, [[*KEYS[0][:2], [4, 2], *KEYS[0][3:]]], structure={"w": 0})
    assert MANIFEST in error_of(handle)
