"""Shared setup: signals, eight CPU devices, hypothesis profiles, soak tests off by default."""

import contextlib
import gc
import os
import pathlib
import signal
import sys

# JAX reads these once, when it is imported. Child processes inherit them.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import hypothesis
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import everywhere

# A shell ignores them in what it starts with `&` or `nohup`, and processes that tests start
# would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

_NOISY_MACHINE = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large]
hypothesis.settings.register_profile(
    "default", max_examples=50, deadline=None, suppress_health_check=_NOISY_MACHINE
)
# The full suite tries more examples, and always the same ones.
hypothesis.settings.register_profile(
    "full",
    hypothesis.settings.get_profile("default"),
    max_examples=200,
    derandomize=True,
    database=None,
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_collection_modifyitems(config, items):
    if "soak" in (config.option.markexpr or ""):
        return
    skip = pytest.mark.skip(reason="takes many minutes; `make test-soak` runs it")
    for item in items:
        if "soak" in item.keywords:
            item.add_marker(skip)


def pytest_collection_finish():
    # Garbage collections during the tests need not look at all that is imported.
    gc.freeze()


def pytest_generate_tests(metafunc):
    if "tmp_path" in metafunc.fixturenames and everywhere.runs_at_an_address(metafunc.function):
        metafunc.parametrize("tmp_path", ["local", "remote"], indirect=True)


@pytest.fixture
def tmp_path(request, tmp_path):
    """A fresh directory, and for tests that `everywhere` selects also an address."""
    if getattr(request, "param", "local") == "local":
        yield tmp_path
        return
    address = everywhere.address()
    yield address
    everywhere.close_all(address)


@pytest.fixture
def untraced():
    """Keep coverage's tracer out of a test whose signal handler raises at any moment.

    Interrupted between taking its lock and releasing it, the tracer would wait for it for ever.
    """
    tracer = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(tracer)


@pytest.fixture(autouse=True)
def close_logs():
    """Close the logs that a test leaves open: thousands of their threads would slow all others."""
    yield
    background = sys.modules.get("fifteen.experiments.events.writing._background")
    for writer in list(background._writers) if background else ():
        with contextlib.suppress(OSError, RuntimeError):
            writer.close()
