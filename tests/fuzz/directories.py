"""Attack: no operation changes or removes foreign files in a directory."""

import collections
import os
import pickle

import numpy as np
import safetensors.numpy
import tensorboardX

from fifteen.experiments import Experiment, FifteenError, TensorboardLogData

PREFIXES = ["checkpoint_", "checkpoint_best_", "", "run_2/checkpoint_", "net1", "run_2/"]
NAMES = [
    *("2024", "7", "8.safetensors", "checkpoint_7", "checkpoint_7.safetensors", "checkpoint_9_gda"),
    *("checkpoint_8", "checkpoint_best_3", "checkpoint_20.safetensors", ".hidden", "checkpoint_"),
    *("checkpoint_5.pt", "checkpoint_4.safetensors.bak", "net1@5", "net15.safetensors", "x_gda"),
    *("checkpoint_12.orbax-checkpoint-tmp-17", "events.txt", "007", "-1", ".checkpoint_3.tmp"),
    *("run_2/checkpoint", "run_2/7", "run_2/checkpoint_6.safetensors", "checkpoint_07", ".x.lock"),
]


def folder(path):
    path.mkdir()
    (path / "weights.bin").write_text("theirs")


STRANGERS = [
    folder,
    lambda path: path.write_text("theirs"),
    lambda path: path.write_bytes(pickle.dumps({"model": 1})),
    lambda path: safetensors.numpy.save_file({"w": np.ones(3)}, path),
    lambda path: path.symlink_to("/nowhere" if path.name < "c" else path.parent.parent),
    lambda path: os.mkfifo(path),
]


def found(root):
    """Return the modes, inodes and contents below a directory."""
    listed = {}
    for path in root.rglob("*"):
        status = path.lstat()
        if path.is_symlink():
            content = os.readlink(path)
        else:
            content = path.read_bytes() if path.is_file() else None
        changed = path.is_file() and status.st_mtime_ns
        listed[str(path.relative_to(root))] = (status.st_mode, status.st_ino, changed, content)
    return listed


def operations(rng, experiment, expected):
    """Return the operations on an experiment; saves are recorded."""
    prefix, step = rng.choice(PREFIXES), rng.choice([0, 3, 5, 7, 8, 9, 12, 20, 2024, 2025, 3000])
    options = {"keep": rng.choice([1, 2, 10]), "overwrite": rng.random() < 0.6}
    options |= {"blocking": rng.random() < 0.7, "keep_every_n_steps": rng.choice([None, 5])}
    number = rng.randrange(100)

    def save():
        experiment.save_checkpoint({"w": np.full(3, number)}, step, prefix, **options)
        experiment.flush()
        expected[prefix] = step, number

    def log():
        experiment.log(TensorboardLogData({"loss": number}), step)
        experiment.flush()

    return [
        *(save, save, save, save, save, log, experiment.close, experiment.assert_new),
        lambda: experiment.restore_checkpoint(None, rng.choice([None, step]), prefix),
        lambda: (experiment.checkpoint_prefixes(), experiment.checkpoint_leaves(prefix=prefix)),
        lambda: (experiment.metadata_names(), experiment.read_scalars()),
        lambda: experiment.write_metadata(rng.choice(["config", "run_2/a", "../model"]), number),
        lambda: experiment.write_metadata("config", object()),
        lambda: experiment.read_metadata("broken", dict),
        lambda: experiment.rewind_logs(number),
        lambda: experiment.log_hparams({"lr": number}),
        lambda: experiment.save_checkpoint({"w": object()}, step, prefix, **options),
    ]


def attack(rng, root):
    directory = root / "run"
    (directory / "run_2").mkdir(parents=True)
    for name in rng.sample(NAMES, 12):
        rng.choice(STRANGERS)(directory / name)
    (directory / "broken.yaml").write_text("a: [1\n")
    with tensorboardX.SummaryWriter(str(directory), filename_suffix="theirs") as writer:
        writer.add_scalar("theirs", 1.0, 50)
    strangers, expected, counts = found(root), {}, collections.Counter()
    experiment = Experiment(directory, verbose=False)
    for _ in range(rng.randrange(5, 25)):
        before = found(root)
        try:
            rng.choice(operations(rng, experiment, expected))()
            counts["returned"] += 1
        except (FifteenError, OSError):
            counts["refused"] += 1
            after = found(root)
            changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
            assert all("events.out" in name for name in changed), changed
        after = found(root)
        for name, it in strangers.items():
            assert after.get(name) == it, (name, it, after.get(name))
        for prefix, (step, number) in expected.items():
            restored = experiment.restore_checkpoint(None, step, prefix)
            assert restored["w"].tolist() == [number] * 3, (prefix, step)
    experiment.close()
    return counts
