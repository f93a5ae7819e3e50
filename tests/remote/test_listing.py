"""Listing many experiments in a bucket takes one listing and one read per file."""

import threading
import time

import numpy as np
import pytest

from fifteen.cli import main
from fifteen.experiments import Experiment, TensorboardLogData, find_experiments
from fifteen.experiments._local_path import local_path
from fifteen.experiments.storage import Directory
from fifteen.view._board import Board
from fifteen.view._report import report


@pytest.fixture
def root(bucket, proxy):
    for number in range(12):
        with Experiment(f"{bucket}/run_{number}", verbose=False) as experiment:
            experiment.write_metadata("config", {"lr": number / 10})
            experiment.log(TensorboardLogData({"loss": np.arange(3.0)}), step=range(3))
            experiment.save_checkpoint({"w": np.zeros(3)}, 3)
    proxy.requests.clear()
    return bucket


def test_table_reads_each_file_once(root, proxy):
    table = find_experiments(root).to_pandas()
    assert table["config.lr"].tolist() == [number / 10 for number in range(12)]
    assert table["loss:min"].tolist() == [0.0] * 12
    assert table["checkpoints"].tolist() == [1] * 12
    assert not table["problem"].any()
    read = [request.path for request in proxy.requests if "list" not in request.path]
    files = [path for path in read if "run_" in path]
    assert len(files) == len(set(files)) == 24
    # One listing finds the experiments, one reads them.
    assert len(proxy.requests) - len(files) <= 4


@pytest.mark.parametrize(
    "look",
    [
        lambda root: main(["list", root, f"{root}/run_1"]),
        lambda root: main(["watch", root, "--all"]),
        lambda root: main(["plot", root, "loss"]),
        lambda root: find_experiments(root).scalars(),
        lambda root: report(find_experiments(root), ""),
        lambda root: Board(lambda: find_experiments(root), lambda found: found, "").table(),
    ],
)
def test_tables_list_all_experiments_together(root, proxy, look):
    look(root)
    listed = [one for one in proxy.requests if "list" in one.path or one.method == "HEAD"]
    assert len(listed) <= 6, listed


@pytest.mark.parametrize(("steps", "reads"), [(3_000, 1), (30_000, 2)])
def test_long_log_takes_a_read_of_all_or_of_both_ends(bucket, proxy, steps, reads):
    with Experiment(f"{bucket}/a", verbose=False) as experiment:
        losses = {"loss": np.arange(steps, dtype=np.float64)}
        experiment.log(TensorboardLogData(losses), step=range(steps))
    proxy.requests.clear()
    (field,) = find_experiments(bucket).load().fields
    assert field.value("loss") == steps - 1
    assert field.summary.last_step == steps - 1
    assert field.timeline.first_time is not None
    assert len(proxy.sent("GET", "tfevents")) == reads


def test_file_that_changes_after_the_listing_is_read_as_it_is_now(root):
    experiments = find_experiments(root)
    directory = Directory(experiments[0].data_dir.parent)
    with directory.listed():
        experiments[0].write_metadata("config", {"lr": 0.125})
        experiments[1].data_dir.joinpath("config.yaml").unlink()
        paths = [experiment.data_dir / "config.yaml" for experiment in experiments]
        with directory.fetched(paths):
            assert b"0.125" in directory.read("run_0/config.yaml")
            with pytest.raises(FileNotFoundError):
                directory.read("run_1/config.yaml")
            assert b"0.2" in directory.read("run_2/config.yaml")


@pytest.mark.parametrize("part", ["tfevents", "config.yaml", ".open"])
def test_requests_for_many_experiments_overlap(root, proxy, part):
    for number in range(12):
        with Directory(local_path(f"{root}/run_{number}")).replace(".open.fifteen-tmp") as lease:
            lease.write(b"{}")
    experiments = find_experiments(root)
    proxy.hold(part)
    thread = threading.Thread(target=lambda: experiments.values("lr"))
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while proxy.held < 8:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        proxy.release()
        thread.join()
    assert experiments.values("loss") == [2.0] * 12
    assert experiments.values("status") == ["running"] * 12
    assert len(proxy.sent("GET", part)) == 12


def test_selection_works_as_on_disk(root):
    experiments = find_experiments(root)
    chosen = experiments.where("lr > 0.85 and loss > 1").sort("lr", reverse=True)
    assert [experiment.data_dir.name for experiment in chosen] == ["run_11", "run_10", "run_9"]
    assert chosen.scalars()["value"].tolist() == [0.0, 1.0, 2.0] * 3
    # Later changes are visible.
    experiments[0].save_checkpoint({"w": np.zeros(3)}, 4, keep=2)
    assert experiments[0].checkpoint_steps() == [3, 4]


def test_commands_accept_addresses(root, capsys):
    assert main(["list", root, "--where", "lr < 0.15"]) == 0
    shown = capsys.readouterr().out
    assert "run_1" in shown
    assert "0.1" in shown
    assert "run_2" not in shown
    assert main(["note", f"{root}/run_1", "good"]) == 0
    assert f"Wrote {root}/run_1/notes.yaml" in capsys.readouterr().out
    assert main(["compare", f"{root}/run_1", f"{root}/run_2"]) == 0
    assert "0.2" in capsys.readouterr().out
