"""A real S3 server on this machine, and what clients need to find it."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request
import uuid

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from faulty_proxy import FaultyProxy

SECONDS_TO_START = 60
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing-secret",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextlib.contextmanager
def running_s3_server(log):
    """Run moto's server in a process of its own; yield its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    # What it keeps in the temporary directory would otherwise be shared with other servers.
    environment = {**os.environ, "TMPDIR": str(log.parent)}
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        deadline = time.monotonic() + SECONDS_TO_START
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=10).close()
                break
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the S3 server does not answer"
            time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@pytest.fixture(scope="session")
def s3_port(tmp_path_factory):
    with running_s3_server(tmp_path_factory.mktemp("s3") / "server.log") as port:
        yield port


def make_bucket(port):
    name = f"b-{uuid.uuid4().hex}"
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{name}", method="PUT")
    urllib.request.urlopen(request, timeout=60).close()
    return name


def set_endpoint(monkeypatch, address):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    variables = {**ENVIRONMENT, "AWS_ENDPOINT_URL": address, "S3_ENDPOINT": address}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def bucket(s3_port, monkeypatch):
    """The address of a directory in a fresh bucket; the environment leads there."""
    set_endpoint(monkeypatch, f"http://127.0.0.1:{s3_port}")
    return f"s3://{make_bucket(s3_port)}/runs/a"


@pytest.fixture
def proxy(s3_port, bucket, monkeypatch):
    """A proxy through which the environment leads to the server of `bucket`."""
    proxy = FaultyProxy(s3_port)
    set_endpoint(monkeypatch, proxy.address)
    yield proxy
    proxy.close()
