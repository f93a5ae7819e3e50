"""Starting threads while the system has none left, or a signal handler raises."""

import _thread

import pytest

from fifteen.experiments._threads import start_thread


def raising(message):
    def start(*_):
        raise RuntimeError(message)

    return start


@pytest.mark.parametrize(
    "message", ["can't start new thread", "can't create new thread at interpreter shutdown"]
)
def test_no_thread_can_start(monkeypatch, message):
    monkeypatch.setattr(_thread, "start_new_thread", raising(message))
    assert not start_thread(print)


def test_error_of_a_signal_handler_is_raised(monkeypatch):
    monkeypatch.setattr(_thread, "start_new_thread", raising("preempted"))
    with pytest.raises(RuntimeError, match="preempted"):
        start_thread(print)


def test_thread_runs():
    lock = _thread.allocate_lock()
    lock.acquire()
    assert start_thread(lock.release)
    assert lock.acquire(timeout=60)
