"""A fresh bucket on a real S3 server, directly or through a faulty network."""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import s3_server
from faulty_proxy import FaultyProxy


@pytest.fixture(scope="session")
def s3_port(tmp_path_factory):
    with s3_server.running(tmp_path_factory.mktemp("s3") / "server.log") as port:
        yield port


def set_endpoint(monkeypatch, address):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_server.variables(address).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def bucket(s3_port, monkeypatch):
    """The address of a directory in a fresh bucket; the environment variables name its server."""
    set_endpoint(monkeypatch, f"http://127.0.0.1:{s3_port}")
    return f"s3://{s3_server.make_bucket(s3_port)}/runs/a"


@pytest.fixture
def proxy(s3_port, bucket, monkeypatch):
    """A proxy for the server of `bucket`; the environment variables name it."""
    proxy = FaultyProxy(s3_port)
    set_endpoint(monkeypatch, proxy.address)
    yield proxy
    proxy.close()
