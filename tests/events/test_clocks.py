"""Runs resumed on a host with another clock."""

import time

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fifteen.experiments import TensorboardLogData
from fifteen.experiments.events.reading import EventReader
from fifteen.experiments.events.writing import EventLog
from fifteen.experiments.storage import Directory


@pytest.mark.parametrize("ahead", [0, 600, 7200])
@pytest.mark.parametrize("took", [0.0, 3600.0])
def test_run_resumed_on_a_host_with_a_slow_clock(tmp_path, monkeypatch, ahead, took):
    begun = time.time()
    for steps, value, clock in [
        (range(100), 0.0, begun + ahead),
        (range(51, 71), 1.0, begun + took),
    ]:
        monkeypatch.setattr(time, "time", lambda clock=clock: clock)
        log = EventLog(Directory(tmp_path))
        if value:
            log.rewind(50)
        for step in steps:
            monkeypatch.setattr(time, "time", lambda now=clock + step / 100 * took: now)
            log.log(TensorboardLogData({"x": value}), step, 1, 1)
        log.close()
    found = EventReader(Directory(tmp_path)).scalars()["x"]
    assert found.step.tolist() == list(range(71))
    assert found.value.tolist() == [0.0] * 51 + [1.0] * 20
    accumulator = EventAccumulator(str(tmp_path), {"scalars": 0}).Reload()
    assert [event.step for event in accumulator.Scalars("x")] == list(range(71))
