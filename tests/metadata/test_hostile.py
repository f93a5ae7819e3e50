"""No file runs or imports code, takes long, fills memory or crashes the reader."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
READ_AS_DATA = {
    # Read as Any, these are odd but plain data.
    "blank_30_MB", "byte_order_mark", "byte_order_mark_inside", "comment_30_MB", "date",
    "decimal_exponent", "escapes_30_MB", "float_exponent", "float_of_a_million_digits",
    "folded_30_MB", "header_hostile", "hex_of_a_million_digits", "int_of_a_million_digits",
    "long_anchor", "one_line_30_MB", "one_quoted_30_MB", "range", "sexagesimal", "utf_7",
    "value_key", "set_of_values",
}  # fmt: skip
READ_AS_DECLARED = {
    "blank_30_MB", "byte_order_mark", "comment_30_MB", "header_hostile", "hex_of_a_million_digits",
    "value_key",
}  # fmt: skip


@pytest.mark.slow
def test_hostile_files_are_refused_or_read_as_data(tmp_path):
    # Tracing for coverage makes the measured times several times longer.
    unwatched = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    done = subprocess.run(
        [sys.executable, HERE / "hostile_files.py", tmp_path],
        capture_output=True, text=True, timeout=500, check=False, env=unwatched,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len({result["file"] for result in results}) >= 60
    assert not (tmp_path / "canary").exists()
    for result in results:
        name = result["file"]
        assert result["status"] == 0, result
        assert result["verdict"].startswith(("refused", "read")), result
        assert result["cpu"] < 2, result
        assert result["memory"] < 500e6, result
        if result["type"] == "typing.Any":
            assert (result["verdict"] == "read") == (name in READ_AS_DATA), result
        else:
            assert (result["verdict"] == "read") <= (name in READ_AS_DECLARED), result
