"""The pause of the garbage collector: it ends, whatever happens, and only where it began."""

import gc

import pytest

from fifteen.experiments._gc import gc_paused


def test_the_collector_runs_again_also_after_an_error():
    with gc_paused():
        assert not gc.isenabled()
        with gc_paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="broken"), gc_paused():
        raise ValueError("broken")
    assert gc.isenabled()


def test_a_collector_that_its_user_has_stopped_stays_so():
    gc.disable()
    try:
        with gc_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
