"""Experiment as a value, and the operations on its directory."""

import contextlib
import copy
import dataclasses
import inspect
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import types
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
import warm
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

import fifteen
from fifteen.experiments import (
    Experiment,
    ExperimentExistsError,
    ExperimentMovedError,
    ExperimentNotFoundError,
    ExperimentWarning,
    LogDataError,
    MetadataError,
    TensorboardLogData,
    UnsafePathError,
)
from fifteen.experiments.checkpoints import Checkpoints
from fifteen.experiments.storage import _move


def scalar(value, tag="loss"):
    return TensorboardLogData(scalars={tag: value})


@pytest.fixture
def experiment(tmp_path):
    with Experiment(tmp_path / "run", verbose=False) as experiment:
        yield experiment


def run_script(script, *arguments, expect=0, flags=()):
    process = subprocess.run(
        [sys.executable, *flags, "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == expect, process.stderr
    return process


class TestValue:
    def test_is_reachable_from_the_package(self):
        assert fifteen.experiments.Experiment is Experiment

    def test_takes_a_str(self, tmp_path):
        assert Experiment(str(tmp_path)).data_dir == tmp_path

    def test_relative_path_is_resolved_at_once(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        experiment = Experiment(pathlib.Path("run"), verbose=False)
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        experiment.write_metadata("config", 1)
        assert (tmp_path / "run" / "config.yaml").exists()
        assert dataclasses.replace(experiment, verbose=True).data_dir == tmp_path / "run"

    def test_dots_are_removed(self, tmp_path):
        assert Experiment(tmp_path / "a" / ".." / "b").data_dir == tmp_path / "b"

    @pytest.mark.parametrize("wrong", [None, 3, b"run", "", "a\0b", ["run"]])
    def test_refuses_values_other_than_paths(self, wrong):
        with pytest.raises(TypeError, match="data_dir: expected a path"):
            Experiment(wrong)

    def test_equality_hash_and_repr_use_both_fields(self, tmp_path):
        one, same = Experiment(tmp_path), Experiment(str(tmp_path))
        assert one == same
        assert hash(one) == hash(same)
        assert one != Experiment(tmp_path, verbose=False)
        assert one != Experiment(tmp_path / "other")
        assert repr(one) == f"Experiment(data_dir={tmp_path!r}, verbose=True)"
        assert [field.name for field in dataclasses.fields(Experiment)] == ["data_dir", "verbose"]

    def test_is_frozen(self, tmp_path):
        with pytest.raises(dataclasses.FrozenInstanceError):
            Experiment(tmp_path).verbose = False

    def test_pickles_and_copies_while_in_use(self, experiment):
        experiment.log(scalar(1.0), step=0)
        for again in (
            pickle.loads(pickle.dumps(experiment)),
            copy.copy(experiment),
            copy.deepcopy(experiment),
            dataclasses.replace(experiment),
        ):
            assert again == experiment
            again.log(scalar(2.0), step=1)
        assert experiment.read_scalars()["loss"].value.tolist() == [1, 2]

    def test_pickles_into_another_process(self, experiment):
        pickled = pickle.dumps(experiment).hex()
        script = """
            import pickle, sys
            experiment = pickle.loads(bytes.fromhex(sys.argv[1]))
            experiment.write_metadata("config", 3)
        """
        run_script(script, pickled)
        assert experiment.read_metadata("config", int) == 3

    def test_move_returns_the_subclass(self, tmp_path, capsys):
        @dataclasses.dataclass(frozen=True)
        class Mine(Experiment):
            note: str = ""

        mine = Mine(tmp_path / "a", note="n")
        mine.write_metadata("config", 1)
        moved = mine.move(tmp_path / "b")
        assert moved == Mine(tmp_path / "b", note="n")
        assert "[Mine] Moved" in capsys.readouterr().out


CONTRACT = {
    "__init__": "(self, data_dir, verbose=True)",
    "write_metadata": "(self, name, object)",
    "read_metadata": "(self, name, expected_type=<PlainData.PLAIN: 1>)",
    "save_checkpoint": "(self, target, step, prefix='checkpoint_', keep=1, overwrite=False, "
    "keep_every_n_steps=None, *, blocking=True)",
    "restore_checkpoint": "(self, target, step=None, prefix='checkpoint_', *, strict=False, "
    "partial=False)",
    "checkpoint_steps": "(self, prefix='checkpoint_')",
    "log": "(self, log_data, step, log_scalars_every_n=1, log_histograms_every_n=1)",
    "rewind_logs": "(self, step)",
    "log_hparams": "(self, hparams, metrics=())",
    "read_scalars": "(self, tags=None)",
    "annotate": "(self, *, note=None, tags=None)",
    "write_provenance": "(self)",
    "assert_new": "(self)",
    "assert_exists": "(self)",
    "clear": "(self)",
    "move": "(self, new_data_dir)",
    "flush": "(self)",
    "close": "(self)",
}
LOG_DATA_CONTRACT = {
    "prefix": "(self, prefix)",
    "merge": "(self, other)",
    "merge_scalars": "(self, scalars={})",
    "merge_histograms": "(self, histograms={})",
    "fix_sharded_scalars": "(self)",
}


def bare_signature(function):
    signature = inspect.signature(function)
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
    ]
    return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


class TestContract:
    @pytest.mark.parametrize("name", CONTRACT)
    def test_experiment(self, name):
        assert bare_signature(getattr(Experiment, name)) == CONTRACT[name]

    @pytest.mark.parametrize("name", LOG_DATA_CONTRACT)
    def test_log_data(self, name):
        assert bare_signature(getattr(TensorboardLogData, name)) == LOG_DATA_CONTRACT[name]

    def test_log_data_takes_its_fields_in_order(self):
        assert [field.name for field in dataclasses.fields(TensorboardLogData)] == [
            "scalars",
            "histograms",
        ]
        assert TensorboardLogData({"a": 1.0}, {"b": np.ones(2)}).scalars == {"a": 1.0}

    def test_everything_public_is_documented(self):
        for owner in (Experiment, TensorboardLogData):
            for name, member in inspect.getmembers(owner):
                if not name.startswith("_") and (callable(member) or isinstance(member, property)):
                    assert inspect.getdoc(member), f"{owner.__name__}.{name}"


class TestAssertNew:
    def test_returns_itself_if_absent_or_empty(self, experiment):
        assert experiment.assert_new() is experiment
        experiment.data_dir.mkdir()
        assert experiment.assert_new() is experiment

    def test_does_not_create_the_directory(self, experiment):
        experiment.assert_new()
        assert not experiment.data_dir.exists()

    def test_names_the_files_found(self, experiment):
        experiment.write_metadata("config", 1)
        with pytest.raises(ExperimentExistsError) as raised:
            experiment.assert_new()
        assert str(raised.value) == (
            f"{experiment.data_dir}: expected a new experiment, found config.yaml; "
            "choose another directory, or clear() this one to start again"
        )

    def test_counts_what_it_does_not_name(self, experiment):
        for number in range(5):
            experiment.write_metadata(f"m{number}", number)
        with pytest.raises(ExperimentExistsError, match=r"m0.yaml, m1.yaml, m2.yaml and 2 more"):
            experiment.assert_new()

    def test_file_or_broken_link_in_the_way(self, experiment):
        experiment.data_dir.write_text("x")
        with pytest.raises(
            ExperimentExistsError, match=r"found a file; choose another directory, or remove it$"
        ):
            experiment.assert_new()
        experiment.data_dir.unlink()
        experiment.data_dir.symlink_to("nowhere")
        with pytest.raises(ExperimentExistsError, match=r"found a broken link to .*nowhere"):
            experiment.assert_new()

    def test_is_caught_by_old_programs(self, experiment):
        experiment.write_metadata("config", 1)
        for error in (AssertionError, FileExistsError, fifteen.experiments.FifteenError):
            with pytest.raises(error):
                experiment.assert_new()

    def test_raises_under_optimised_python_too(self, tmp_path):
        (tmp_path / "a").write_text("x")
        script = """
            import sys
            from fifteen.experiments import Experiment
            for path, method in ((sys.argv[1], "assert_new"), (sys.argv[1] + "/no", "assert_exists")):
                try:
                    getattr(Experiment(path), method)()
                except AssertionError as error:
                    print(type(error).__name__)
        """
        output = run_script(script, tmp_path, flags=["-O"]).stdout
        assert output == "ExperimentExistsError\nExperimentNotFoundError\n"


class TestAssertExists:
    def test_returns_itself(self, experiment):
        experiment.write_metadata("config", 1)
        assert experiment.assert_exists() is experiment

    def test_names_the_files_found(self, experiment):
        with pytest.raises(ExperimentNotFoundError, match="expected an experiment, found nothing"):
            experiment.assert_exists()
        experiment.data_dir.mkdir()
        with pytest.raises(ExperimentNotFoundError, match="found an empty directory"):
            experiment.assert_exists()
        experiment.data_dir.rmdir()
        experiment.data_dir.write_text("x")
        with pytest.raises(ExperimentNotFoundError, match="found a file"):
            experiment.assert_exists()

    def test_is_caught_by_old_programs(self, experiment):
        for error in (AssertionError, FileNotFoundError):
            with pytest.raises(error):
                experiment.assert_exists()


class TestClear:
    def test_deletes_everything_and_works_afterwards(self, experiment):
        experiment.write_metadata("config", 1)
        experiment.log(scalar(1.0), step=0)
        experiment.save_checkpoint({"a": jnp.ones(3)}, step=0)
        assert experiment.clear() is experiment
        assert not experiment.data_dir.exists()
        experiment.assert_new()
        experiment.log(scalar(2.0), step=5)
        experiment.save_checkpoint({"a": jnp.ones(3)}, step=0)
        assert experiment.read_scalars()["loss"].step.tolist() == [5]
        assert experiment.checkpoint_steps() == [0]

    def test_absent_directory_is_allowed(self, experiment):
        experiment.clear().clear().assert_new()

    def test_pending_work_does_not_reappear(self, experiment):
        for step in range(100):
            experiment.log(scalar(1.0), step=step)
        experiment.save_checkpoint({"a": np.ones(1000)}, step=0, blocking=False)
        experiment.clear()
        experiment.flush()
        assert not experiment.data_dir.exists()

    def test_never_follows_a_link(self, experiment, tmp_path):
        precious = tmp_path / "precious"
        precious.mkdir()
        (precious / "file").write_text("x")
        experiment.write_metadata("config", 1)
        (experiment.data_dir / "link").symlink_to(precious)
        experiment.clear()
        assert (precious / "file").read_text() == "x"

    def test_refuses_the_working_directory(self, experiment, monkeypatch):
        experiment.write_metadata("config", 1)
        (experiment.data_dir / "sub").mkdir()
        monkeypatch.chdir(experiment.data_dir / "sub")
        with pytest.raises(UnsafePathError, match="change to another one first"):
            experiment.clear()
        assert experiment.read_metadata("config", int) == 1

    def test_refuses_a_file(self, experiment):
        experiment.data_dir.write_text("precious")
        with pytest.raises(UnsafePathError, match="it is a file, not an experiment"):
            experiment.clear()
        assert experiment.data_dir.read_text() == "precious"

    def test_folder_that_disappears_meanwhile_is_not_read_only(self, experiment, monkeypatch):
        """As those of a save that another process finishes."""
        experiment.write_metadata("eval/config", 1)
        access = os.access

        def move_before(path, *arguments, **options):
            if path.endswith("/eval"):
                os.rename(path, f"{path}2")
            return access(path, *arguments, **options)

        monkeypatch.setattr(os, "access", move_before)
        experiment.clear().assert_new()

    def test_read_only_directory_stays_whole(self, tmp_path):
        for parent in (tmp_path, *tmp_path.parents[:3]):
            if parent.stat().st_uid == os.geteuid():
                parent.chmod(0o777)
        # Root may write everywhere, so the script changes its user.
        script = """
            import os, sys
            from fifteen.experiments import Experiment, UnsafePathError
            first, run, other = (Experiment(f"{sys.argv[1]}/{name}", verbose=False) for name in "abc")
            for experiment in (first, run, other):
                experiment.write_metadata("config", 1)
                experiment.write_metadata("eval/config", 1)
                os.chmod(experiment.data_dir, 0o777)
                os.chmod(experiment.data_dir / "eval", 0o777)
                os.mkdir(experiment.data_dir / "empty", 0o555)
            first.clear()
            os.chmod(run.data_dir / "eval", 0o555)
            if os.geteuid() == 0:
                os.seteuid(65534)
            other.clear()
            try:
                run.clear()
            except UnsafePathError as error:
                print(error)
        """
        said = run_script(script, tmp_path).stdout
        assert said == (
            f"{tmp_path}/b: refusing to delete it: {tmp_path}/b/eval is read-only; make it "
            "writable first, with chmod -R u+rwX\n"
        )
        assert not (tmp_path / "c").exists()
        assert Experiment(tmp_path / "b", verbose=False).metadata_names() == [
            "config",
            "eval/config",
        ]
        (tmp_path / "b" / "eval").chmod(0o755)

    def test_parent_that_is_a_file_stays(self, experiment):
        experiment.data_dir.write_text("precious")
        Experiment(experiment.data_dir / "inside", verbose=False).clear()
        assert experiment.data_dir.read_text() == "precious"

    def test_works_without_a_working_directory(self, experiment, tmp_path):
        experiment.write_metadata("config", 1)
        script = """
            import os, sys
            from fifteen.experiments import Experiment
            os.chdir(sys.argv[2])
            os.rmdir(sys.argv[2])
            Experiment(sys.argv[1]).clear()
        """
        (tmp_path / "gone").mkdir()
        run_script(script, experiment.data_dir, tmp_path / "gone")
        assert not experiment.data_dir.exists()

    def test_refuses_root_and_home(self):
        for path in ("/", pathlib.Path.home()):
            with pytest.raises(UnsafePathError, match="refusing to delete it"):
                Experiment(path, verbose=False).clear()

    def test_kill_leaves_nothing_half_deleted(self, experiment):
        for number in range(5):
            experiment.write_metadata(f"m{number}", number)
        script = """
            import os, pathlib, shutil, signal, sys
            from fifteen.experiments import Experiment
            def die(path, *arguments, **options):
                next(pathlib.Path(path).iterdir()).unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            shutil.rmtree = die
            Experiment(sys.argv[1]).clear()
        """
        run_script(script, experiment.data_dir, expect=-signal.SIGKILL)
        experiment.assert_new()
        experiment.clear()
        assert os.listdir(experiment.data_dir.parent) == []


class TestMove:
    def test_returns_the_moved_experiment(self, experiment, tmp_path):
        experiment.write_metadata("config", 1)
        moved = experiment.move(tmp_path / "deep" / "er")
        assert moved == Experiment(tmp_path / "deep" / "er", verbose=False)
        assert moved.read_metadata("config", int) == 1
        assert not experiment.data_dir.exists()

    def test_curves_continue_after_the_move(self, experiment, tmp_path):
        experiment.log(scalar(1.0), step=0)
        moved = experiment.move(tmp_path / "there")
        moved.log(scalar(2.0), step=1)
        moved.save_checkpoint({"a": jnp.ones(2)}, step=1)
        assert moved.read_scalars()["loss"].value.tolist() == [1, 2]
        assert moved.checkpoint_steps() == [1]
        moved.close()

    def test_old_handle_errors_name_the_destination(self, experiment, tmp_path):
        experiment.write_metadata("config", 1)
        other = Experiment(experiment.data_dir)
        experiment.move(tmp_path / "there")
        for use in (
            lambda handle: handle.write_metadata("config", 2),
            lambda handle: handle.read_metadata("config", int),
            lambda handle: handle.log(scalar(1.0), step=0),
            lambda handle: handle.save_checkpoint({}, step=0),
            lambda handle: handle.restore_checkpoint(None),
            lambda handle: handle.summary_writer,
            lambda handle: handle.write_provenance(),
            lambda handle: handle.metadata_names(),
            lambda handle: handle.clear(),
            lambda handle: handle.move(tmp_path / "elsewhere"),
        ):
            for handle in (experiment, other):
                with pytest.raises(ExperimentMovedError, match=str(tmp_path / "there")):
                    use(handle)
        experiment.flush()
        experiment.close()
        assert not experiment.data_dir.exists()

    def test_thread_that_logs_during_the_move_gets_an_error(self, experiment, tmp_path):
        logged = []

        def log_until_told():
            try:
                for step in range(1_000_000):
                    experiment.log(scalar(float(step)), step=step)
                    logged.append(step)
            except ExperimentMovedError as error:
                logged.append(str(error))

        thread = threading.Thread(target=log_until_told, daemon=True)
        thread.start()
        while len(logged) < 1000:
            time.sleep(0.001)
        moved = experiment.move(tmp_path / "there")
        thread.join(timeout=20)
        *steps, told = logged
        assert str(moved.data_dir) in str(told)
        assert not experiment.data_dir.exists()
        # The last steps are written by the next background write.
        deadline = time.monotonic() + 20
        while len(moved.read_scalars()["loss"]) < len(steps) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert moved.read_scalars()["loss"].step.tolist() == steps

    def test_old_summary_writer_writes_to_the_destination(self, experiment, tmp_path):
        writer = experiment.summary_writer
        writer.add_scalar("loss", 1.0, 1)
        moved = experiment.move(tmp_path / "there")
        writer.add_scalar("loss", 2.0, 2)
        writer.flush()
        assert moved.read_scalars()["loss"].step.tolist() == [1, 2]
        assert not experiment.data_dir.exists()
        writer.close()

    def test_handle_works_after_a_failed_move(self, experiment, tmp_path, monkeypatch):
        def fail(source, destination):
            raise OSError("no luck")

        experiment.log(scalar(1.0), step=1)
        monkeypatch.setattr(_move, "move", fail)
        with pytest.raises(OSError, match="no luck"):
            experiment.move(tmp_path / "there")
        experiment.log(scalar(2.0), step=2)
        assert experiment.read_scalars()["loss"].step.tolist() == [1, 2]

    def test_source_path_can_be_reused(self, experiment, tmp_path):
        experiment.write_metadata("config", 1)
        experiment.move(tmp_path / "there")
        fresh = Experiment(experiment.data_dir, verbose=False).assert_new()
        fresh.write_metadata("config", 2)
        assert fresh.read_metadata("config", int) == 2

    def test_occupied_destination_changes_nothing(self, experiment, tmp_path):
        experiment.log(scalar(1.0), step=0)
        (tmp_path / "there").mkdir()
        (tmp_path / "there" / "precious").write_text("x")
        with pytest.raises(ExperimentExistsError, match="choose another destination"):
            experiment.move(tmp_path / "there")
        with pytest.raises(UnsafePathError, match="into itself"):
            experiment.move(experiment.data_dir / "sub")
        experiment.log(scalar(2.0), step=1)
        assert experiment.read_scalars()["loss"].value.tolist() == [1, 2]

    def test_absent_source_is_allowed(self, experiment, tmp_path):
        moved = experiment.move(tmp_path / "there")
        moved.write_metadata("config", 1)
        assert (tmp_path / "there" / "config.yaml").exists()

    def test_refuses_a_file(self, experiment, tmp_path):
        experiment.data_dir.write_text("precious")
        (tmp_path / "link").symlink_to(experiment.data_dir)
        for path in (experiment.data_dir, tmp_path / "link"):
            with pytest.raises(NotADirectoryError, match="expected a directory, found a file"):
                Experiment(path, verbose=False).move(tmp_path / "there")
            assert path.read_text() == "precious"

    def test_relative_destination(self, experiment, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        experiment.write_metadata("config", 1)
        assert experiment.move("there").data_dir == tmp_path / "there"


class TestVerbose:
    @pytest.mark.parametrize("name", ["run", "é"])
    @pytest.mark.parametrize("output", ["closed", "full", "ascii"])
    def test_unprintable_output_does_not_stop_the_work(self, tmp_path, monkeypatch, output, name):
        place = "/dev/full" if output == "full" else tmp_path / "out"
        stream = open(place, "w", encoding="ascii")  # noqa: SIM115 - one is closed before its use.
        if output == "closed":
            stream.close()
        monkeypatch.setattr("sys.stdout", stream)
        experiment = Experiment(tmp_path / name)
        path = experiment.save_checkpoint({"w": 1}, step=3)
        assert path.endswith("checkpoint_3.safetensors")
        assert experiment.restore_checkpoint({"w": 0}) == {"w": 1}
        if output == "ascii":
            printed = (tmp_path / "out").read_text().splitlines()[-1]
            shown = path.replace("é", "\\xe9")
            assert printed == f"[Experiment] Restored checkpoint from {shown}"
        with contextlib.suppress(OSError):
            stream.close()

    @pytest.mark.parametrize("attributes", [{}, {"encoding": None}])
    def test_output_without_an_encoding(self, tmp_path, monkeypatch, attributes):
        written = []

        def write(text):
            written.append(text.encode("ascii").decode())

        output = types.SimpleNamespace(write=write, flush=lambda: None, **attributes)
        monkeypatch.setattr("sys.stdout", output)
        path = Experiment(tmp_path / "é").save_checkpoint({"w": 1}, step=3)
        shown = path.replace("é", "\\xe9")
        assert f"[Experiment] Saved checkpoint to {shown}" in written

    def test_prints_one_line_per_action(self, tmp_path, capsys):
        run = tmp_path / "run"
        experiment = Experiment(run)
        experiment.write_metadata("config", 1)
        experiment.read_metadata("config", int)
        path = experiment.save_checkpoint({"a": jnp.ones(2)}, step=3)
        experiment.restore_checkpoint({"a": jnp.ones(2)})
        experiment.log(scalar(1.0), step=0)
        experiment.log(scalar(1.0), step=1)
        moved = experiment.move(tmp_path / "there")
        moved.clear()
        moved.clear()
        assert capsys.readouterr().out.splitlines() == [
            f"[Experiment] Made directory at {run}",
            f"[Experiment] Writing metadata to {run}/config.yaml",
            f"[Experiment] Reading metadata from {run}/config.yaml",
            f"[Experiment] Saved checkpoint to {path}",
            f"[Experiment] Restored checkpoint from {path}",
            f"[Experiment] Logging to {run}",
            f"[Experiment] Moved {run} to {tmp_path}/there",
            f"[Experiment] Deleted {tmp_path}/there",
        ]

    @pytest.mark.slow
    def test_quiet_prints_nothing(self, tmp_path):
        script = """
            import sys, warnings
            import jax.numpy as jnp
            import numpy as np
            from fifteen.experiments import Experiment, TensorboardLogData
            warnings.simplefilter("always")
            experiment = Experiment(sys.argv[1] + "/run", verbose=False)
            experiment.write_metadata("config", {"a": 1})
            experiment.read_metadata("config", dict)
            experiment.write_provenance()
            experiment.log(TensorboardLogData({"a": 1.0}, {"h": jnp.array([1, np.nan])}), step=0)
            experiment.log_hparams({"a": 1})
            experiment.summary_writer.add_text("text", "hello", 0)
            experiment.save_checkpoint({"a": jnp.ones(2)}, step=3)
            experiment.save_checkpoint({"a": jnp.ones(2)}, step=4, blocking=False)
            experiment.restore_checkpoint({"a": jnp.ones(3)})
            experiment.rewind_logs(0)
            experiment.read_scalars()
            experiment.move(sys.argv[1] + "/there").clear()
        """
        process = run_script(script, tmp_path)
        assert process.stdout == ""
        assert process.stderr == ""


class TestLog:
    def test_refuses_other_types(self, experiment):
        with pytest.raises(LogDataError, match="expected TensorboardLogData, found dict"):
            experiment.log({"loss": 1.0}, step=0)

    def test_hparams_without_names_are_refused(self, experiment):
        with pytest.raises(LogDataError, match="expected a dataclass or a mapping, found int"):
            experiment.log_hparams(3)
        experiment.log_hparams({})
        with pytest.raises(LogDataError, match="expected several tags, found the str 'loss'"):
            experiment.log_hparams({"a": 1}, metrics="loss")

    @pytest.mark.parametrize("name", ["nan", "inf"])
    def test_non_finite_hparams_are_named(self, tmp_path, name):
        experiment = Experiment(tmp_path / "run")
        with pytest.warns(ExperimentWarning, match=r"hparams: NaN or infinite.*: b\.rate$"):
            experiment.log_hparams({"a": 1.0, "b": {"rate": float(name)}})
        experiment.close()

    def test_changed_hparams_warn_that_they_are_ignored(self, tmp_path):
        experiment = Experiment(tmp_path / "run")
        experiment.log_hparams({"a": 1})
        experiment.log_hparams({"a": 1})
        with pytest.warns(ExperimentWarning, match="TensorBoard shows only the first ones"):
            experiment.log_hparams({"a": 2})
        experiment.close()

    @pytest.mark.parametrize("make", [jnp.float32, np.float32, np.array, jnp.array])
    def test_numpy_and_jax_hparams_are_numbers(self, experiment, make):
        experiment.log_hparams({"rate": make(0.5), "steps": make(3), "shape": (1, 2)})
        experiment.close()
        [path] = experiment.data_dir.iterdir()
        hparams, end = [
            HParamsPluginData.FromString(value.metadata.plugin_data.content)
            for event in EventFileLoader(str(path)).Load()
            for value in event.summary.value
            if value.metadata.plugin_data.plugin_name == "hparams"
        ]
        assert end.session_end_info.status == 1
        values = hparams.session_start_info.hparams
        assert (values["rate"].number_value, values["steps"].number_value) == (0.5, 3.0)
        assert values["shape"].string_value == "(1, 2)"

    def test_file_in_the_way_is_named(self, tmp_path):
        (tmp_path / "file").write_text("x")
        for path in (tmp_path / "file" / "run", tmp_path / "file"):
            experiment = Experiment(path, verbose=False)
            for use in (
                lambda handle: handle.write_metadata("config", 1),
                lambda handle: handle.annotate(note="n"),
                lambda handle: handle.annotate(note=""),
                lambda handle: handle.log(scalar(1.0), step=0),
                lambda handle: handle.save_checkpoint({"a": 1}, step=0),
            ):
                with pytest.raises(NotADirectoryError, match="file is a file"):
                    use(experiment)
        assert (tmp_path / "file").read_text() == "x"


class TestMetadata:
    def test_refused_object_leaves_the_old_file(self, experiment):
        experiment.write_metadata("config", {"a": 1})
        with pytest.raises(MetadataError, match=r"config.*a lambda"):
            experiment.write_metadata("config", {"a": lambda: None})
        assert experiment.read_metadata("config", dict) == {"a": 1}

    def test_names(self, experiment):
        assert experiment.metadata_names() == []
        experiment.write_metadata("config", 1)
        experiment.write_metadata("eval/step_100", 2)
        assert experiment.metadata_names() == ["config", "eval/step_100"]


class TestSummaryWriter:
    def test_is_real_and_always_the_same(self, experiment):
        import tensorboardX

        writer = experiment.summary_writer
        assert isinstance(writer, tensorboardX.SummaryWriter)
        assert experiment.summary_writer is writer
        assert Experiment(experiment.data_dir, verbose=False).summary_writer is writer

    def test_writes_beside_log(self, experiment):
        experiment.log(scalar(1.0), step=0)
        experiment.summary_writer.add_scalar("theirs", 2.0, 0)
        experiment.flush()
        assert experiment.read_scalars()["theirs"].value.tolist() == [2]
        assert experiment.read_scalars()["loss"].value.tolist() == [1]

    def test_is_new_after_clear(self, experiment):
        experiment.summary_writer.add_scalar("a", 1.0, 0)
        experiment.clear()
        experiment.summary_writer.add_scalar("b", 2.0, 0)
        assert list(experiment.read_scalars()) == ["b"]


class TestEnd:
    def test_close_can_be_repeated(self, experiment):
        experiment.log(scalar(1.0), step=0)
        experiment.close()
        experiment.close()
        experiment.log(scalar(2.0), step=1)
        experiment.flush()
        assert experiment.read_scalars()["loss"].value.tolist() == [1, 2]

    def test_with_block(self, tmp_path):
        with Experiment(tmp_path / "run", verbose=False) as experiment:
            experiment.log(scalar(1.0), step=0)
        files = list((tmp_path / "run").glob("events.out.tfevents.*"))
        assert len(files) == 1

    def test_error_in_the_block_is_raised(self, tmp_path):
        (tmp_path / "run").touch()
        experiment = Experiment(tmp_path / "run", verbose=False)

        def use(error):
            with experiment:
                experiment.save_checkpoint({"w": 1}, 1, blocking=False)
                if error is not None:
                    raise error

        with pytest.raises(ValueError, match="mine") as raised:
            use(ValueError("mine"))
        (note,) = raised.value.__notes__
        assert note.startswith(f"While closing {experiment.data_dir}: ")
        assert "is a file" in note
        with pytest.raises(OSError, match="is a file"):
            use(None)
        with experiment:
            pass

    def test_handler_exceptions_propagate_from_close(self, tmp_path, monkeypatch):
        class Stop(OSError):
            pass

        def interrupted(checkpoints):
            monkeypatch.undo()
            raise Stop

        experiment = Experiment(tmp_path / "run", verbose=False)
        experiment.save_checkpoint({"w": 1}, 1, blocking=False)

        def use():
            with experiment:
                raise ValueError("mine")

        for action in (use, experiment.clear, experiment.flush, experiment.close):
            experiment.write_metadata("config", 1)
            monkeypatch.setattr(Checkpoints, "settle", interrupted)
            with pytest.raises(Stop):
                action()
            assert experiment.read_metadata("config", int) == 1

    @pytest.mark.parametrize(
        ("ending", "code"),
        [("pass", 0), ("raise RuntimeError('boom')", 1), ("sys.exit(3)", 3), ("del experiment", 0)],
    )
    def test_everything_logged_is_on_disk(self, tmp_path, ending, code):
        script = f"""
            import sys
            import jax.numpy as jnp
            from fifteen.experiments import Experiment, TensorboardLogData
            experiment = Experiment(sys.argv[1], verbose=False)
            for step in range(1000):
                experiment.log(TensorboardLogData({{"loss": jnp.float32(step)}}), step=step)
            experiment.save_checkpoint({{"a": jnp.ones(100)}}, step=7, blocking=False)
            {ending}
        """
        outcome = warm.run(textwrap.dedent(script), tmp_path)
        assert outcome.returncode == code, outcome.stderr
        experiment = Experiment(tmp_path, verbose=False)
        assert experiment.read_scalars()["loss"].value.tolist() == list(range(1000))
        assert experiment.checkpoint_steps() == [7]

    def test_logs_at_exit_are_on_disk(self, tmp_path):
        script = """
            import atexit, sys
            from fifteen.experiments import Experiment, TensorboardLogData
            experiment = Experiment(sys.argv[1], verbose=False)
            atexit.register(lambda: experiment.log(TensorboardLogData({"loss": 2.0}), step=2))
            experiment.log(TensorboardLogData({"loss": 1.0}), step=1)
        """
        run_script(script, tmp_path)
        series = Experiment(tmp_path, verbose=False).read_scalars()["loss"]
        assert series.value.tolist() == [1.0, 2.0]


def test_plain_run_does_not_warn(tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Experiment(tmp_path / "run", verbose=True) as experiment:
            experiment.write_metadata("config", {"a": 1})
            experiment.log(scalar(jnp.float32(1)), step=0)
            experiment.save_checkpoint({"a": jnp.ones(2)}, step=0)
            experiment.restore_checkpoint({"a": jnp.ones(2)})
    assert [str(warning.message) for warning in caught] == []


def test_quiet_handles_in_threads_keep_warning_filters(tmp_path):
    experiment = Experiment(tmp_path / "run", verbose=False)
    experiment.log(TensorboardLogData(scalars={"x": np.zeros(100)}), range(100))
    experiment.save_checkpoint({"x": np.zeros(2)}, 1)
    before = list(warnings.filters)

    def read():
        for _ in range(50):
            experiment.read_scalars()
            experiment.restore_checkpoint({"x": np.zeros(3)})

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    experiment.close()
    assert warnings.filters == before


def test_link_and_directory_share_one_event_file(tmp_path):
    run, link = tmp_path / "run", tmp_path / "link"
    run.mkdir()
    link.symlink_to(run)
    experiments = [Experiment(run, verbose=False), Experiment(link, verbose=False)]
    for step, experiment in enumerate(experiments):
        experiment.log(TensorboardLogData(scalars={"x": 1.0}), step)
    experiments[0].close()
    assert len(list(run.iterdir())) == 1
    moved = experiments[1].move(tmp_path / "other")
    assert moved.data_dir.is_symlink()
    for step, experiment in enumerate([experiments[0], moved], start=2):
        experiment.log(TensorboardLogData(scalars={"x": 1.0}), step)
    assert moved.read_scalars()["x"].step.tolist() == [0, 1, 2, 3]
    moved.close()
    assert len(list(run.iterdir())) == 2
