"""A training script of random actions, and the check of what it leaves."""

import collections

import jax.numpy as jnp
import numpy as np

from fifteen.experiments import Experiment, TensorboardLogData


class Script:
    """Run random actions, and record which have returned."""

    def __init__(self, rng, directory, say):
        self.experiment = Experiment(directory, verbose=False)
        self.rng, self.number, self.say = rng, 0, say

    def work(self):
        self.number += 1
        number, rng, experiment = self.number, self.rng, self.experiment
        match rng.choice(["save", "save", "write", "restore", "flush", *["log"] * 8]):
            case "save":
                blocking, array = (
                    rng.random() < 0.5,
                    np.full(rng.choice([3, 5000, 200_000]), number),
                )
                state = {"array": array, "jax": jnp.full(3, number)}
                experiment.save_checkpoint(state, number, keep=2, blocking=blocking)
                self.say("saved" if blocking else "handed", number)
            case "write":
                experiment.write_metadata("config", [number] * rng.choice([1, 3000]))
                self.say("written", number)
            case "restore":
                experiment.restore_checkpoint(None) if experiment.checkpoint_steps() else None
            case "flush":
                experiment.flush()
                self.say("flushed", number)
            case "log":
                for value in rng.choices([float, np.float32, jnp.float32], k=rng.choice([1, 100])):
                    self.number += 1
                    experiment.log(TensorboardLogData({"loss": value(self.number)}), self.number)
                    self.say("logged", self.number)


def check(directory, said, safe=float("inf")):
    """Assert that an experiment contains everything that a script recorded before `safe`."""
    said = collections.defaultdict(list, said)
    experiment = Experiment(directory, verbose=False)
    if not directory.exists():
        assert not any(said[what] for what in ("saved", "handed", "written", "logged"))
        return
    expected = [*said["saved"], *(number for number in said["handed"] if number < safe)]
    steps = experiment.checkpoint_steps()
    assert max(steps, default=0) >= max(expected, default=0), (steps, expected)
    for step in steps:
        state = experiment.restore_checkpoint(None, step)
        assert set(state["array"].tolist()) == set(state["jax"].tolist()) == {step}
    if said["written"]:
        found = experiment.read_metadata("config", list[int])
        assert len({*found}) == 1, found
        assert found[0] >= said["written"][-1], (found[0], said["written"])
    series = experiment.read_scalars().get("loss")
    points = series.step.tolist() if series else []
    assert points == (series.value.tolist() if series else [])
    assert sorted({*points}) == points
    lost = {number for number in said["logged"] if number < safe} - {*points}
    assert not lost, f"{len(lost)} of {len(said['logged'])} logged are lost: {sorted(lost)[:9]}"
