"""User paths as directories, and the paths that are refused."""

import pathlib

import pytest

from fifteen.experiments import Experiment, UnsafePathError, find_experiments, summarize


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("open_path", [Experiment, find_experiments, summarize])
@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "https://x/y\n",
            "https://x/y: expected a path or an address that begins with one of s3://",
        ),
        ("gs:x", "gs:x: an address without slashes; write gs://x"),
        ("S3:bucket/a", "s3:bucket/a: an address without slashes; write s3://bucket/a"),
        ("az:", "az://: expected the name of a bucket in the address"),
        ("s3:k:secret@b/a", r"s3://\*\*\*@b/a: leave credentials out of the address"),
        ("s3a://bucket/a", "s3a://bucket/a: write this address as s3://BUCKET/PATH"),
        ("gcs:bucket/a", "gcs://bucket/a: write this address as gs://BUCKET/PATH"),
        (
            "abfs://c@account.dfs.core.windows.net/a",
            r"abfs://.*/a: write this address as az://BUCKET",
        ),
        (" s3://", "s3://: expected the name of a bucket in the address"),
        ("s3://a b/x", "s3://a b/x: no bucket is called 'a b'; check the address"),
        ("gs://bucket#x/a", "gs://bucket#x/a: no bucket is called 'bucket#x'; check"),
        ("s3://../x", r"s3://\.\./x: no bucket is called '\.\.'; check the address"),
        ("s3://key:secret@b/a", r"s3://\*\*\*@b/a: leave credentials out of the address"),
        ("az://b/a?sv=1&sig=abc", "az://b/a: leave credentials out of the address, and put them"),
        (pathlib.Path("s3://k:s@b/a"), r"s3://\*\*\*@b/a: leave credentials out"),
        ("file:///tmp/run", "file:///tmp/run: expected a path, found an address; leave out its"),
        (pathlib.Path("file:///tmp/run"), "file:///tmp/run: expected a path, found an address"),
        ("~no-such-user/run", "there is no user 'no-such-user'; .* write './~no-such-user/run'"),
        (pathlib.Path("~no-such-user"), "there is no user 'no-such-user'; .*'./~no-such-user'"),
    ],
)
def test_unsupported_addresses_and_unknown_homes_are_refused(open_path, path, message):
    with pytest.raises(UnsafePathError, match=f"^(~no-such-user.*: )?{message}"):
        open_path(path)


@pytest.mark.parametrize("address", ["s3://b/x", "s3:/b/x", "s3:///b/x", pathlib.Path("s3://b/x")])
def test_slashes_that_pathlib_or_people_leave_out_or_add_are_no_matter(address):
    assert str(Experiment(address).data_dir) == "s3://b/x"


@pytest.mark.parametrize("path", ["", "a\0b", None, 3, b"runs", ["runs"]])
def test_other_types_are_a_type_error(path):
    with pytest.raises(TypeError, match="data_dir: expected a path or a str that names one"):
        Experiment(path)


def test_leading_tilde_is_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert Experiment("~/runs").data_dir == pathlib.Path("/home/somebody/runs")
    assert Experiment("~").data_dir == pathlib.Path("/home/somebody")
    assert Experiment("./~no-such-user").data_dir == tmp_path / "~no-such-user"


def test_relative_path_becomes_absolute(tmp_path):
    assert Experiment("runs/a:b/../c").data_dir == tmp_path / "runs" / "c"
