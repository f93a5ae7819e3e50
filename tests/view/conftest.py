import numpy as np
import pytest

from fifteen.experiments import Experiment, TensorboardLogData


def make_run(path, config, steps=50, diverges=False):
    """Write an experiment whose loss falls from 2 to 1, faster with a higher rate."""
    experiment = Experiment(path, verbose=False)
    experiment.write_metadata("config", config)
    step = np.arange(1, steps + 1)
    loss = 1 + np.exp(-step * config["lr"]) + 0.01 * config["seed"]
    if diverges:
        loss[steps // 2 :] = np.nan
    scalars = {"train/loss": loss, "train/accuracy": 1 - loss / 4, "eval/loss": loss + 0.5}
    experiment.log(TensorboardLogData(scalars), step=step)
    experiment.close()
    return experiment


@pytest.fixture
def sweep(tmp_path):
    """Two learning rates with three seeds each; one run diverges."""
    root = tmp_path / "runs"
    for lr in (0.01, 0.1):
        for seed in range(3):
            config = {"lr": lr, "seed": seed, "optimizer": {"name": "adam"}}
            make_run(root / f"lr{lr}_{seed}", config, diverges=(lr, seed) == (0.1, 2))
    return root
