"""A fresh bucket on a real S3 server, directly or through a faulty network.

If FIFTEEN_TEST_ADDRESS is set, such as to `az://container`, the tests use that store instead, which
the environment variables describe. Those marked with `s3` are skipped then.
"""

import os
import pathlib
import re
import sys
import urllib.parse
import uuid

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import s3_server
from faulty_proxy import FaultyProxy

from fifteen.experiments.storage._remote import _store

ADDRESS = os.environ.get("FIFTEEN_TEST_ADDRESS", "")
ENDPOINTS = {"s3": "AWS_ENDPOINT_URL", "gs": "GOOGLE_BASE_URL", "az": "AZURE_STORAGE_ENDPOINT"}


def pytest_collection_modifyitems(items):
    for item in items:
        if ADDRESS and not ADDRESS.startswith("s3:") and "s3" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="is about S3"))


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
def bucket(request, monkeypatch):
    """The address of a directory in a fresh bucket; the environment variables name its server."""
    if ADDRESS:
        return f"{ADDRESS}/{uuid.uuid4().hex}/runs/a"
    port = request.getfixturevalue("s3_port")
    set_endpoint(monkeypatch, f"http://127.0.0.1:{port}")
    return f"s3://{s3_server.make_bucket(port)}/runs/a"


@pytest.fixture
def absent(bucket):
    """The address of a bucket that does not exist."""
    return re.sub("://.*", f"://absent-{uuid.uuid4().hex}", bucket)


@pytest.fixture
def proxy(request, bucket, monkeypatch):
    """A proxy for the server of `bucket`; the environment variables name it."""
    if ADDRESS:
        name = ENDPOINTS[ADDRESS.partition(":")[0]]
        endpoint = urllib.parse.urlsplit(os.environ[name])
        proxy = FaultyProxy(endpoint.port)
        monkeypatch.setenv(name, proxy.address + endpoint.path)
        _store._store.cache_clear()
    else:
        proxy = FaultyProxy(request.getfixturevalue("s3_port"))
        set_endpoint(monkeypatch, proxy.address)
    yield proxy
    proxy.close()
    _store._store.cache_clear()
