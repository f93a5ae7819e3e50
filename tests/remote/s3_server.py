"""A real S3 server on this machine, and the environment variables for its clients."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid

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
def running(log, *command):
    """Run moto's server, or that of a script, in its own process; yield its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = command or ("-m", "moto.server", "-H", "127.0.0.1", "-p")
    command = [sys.executable, *command, str(port)]
    # Otherwise servers would share files in the temporary directory.
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


def make_bucket(port):
    name = f"b-{uuid.uuid4().hex}"
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{name}", method="PUT")
    urllib.request.urlopen(request, timeout=60).close()
    return name


def variables(address):
    """Return the environment variables for clients of a server."""
    return {**ENVIRONMENT, "AWS_ENDPOINT_URL": address, "S3_ENDPOINT": address}
