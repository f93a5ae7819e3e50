"""Train with several learning rates, each an experiment of its own, and compare them.

python examples/05_sweep.py --root runs/sweep
fifteen list runs/sweep --columns learning_rate loss:min --sort loss:min
tensorboard --logdir runs/sweep    (and its HParams tab)
"""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import tyro
from sklearn.datasets import load_diabetes

from fifteen.experiments import Experiment, TensorboardLogData, find_experiments


@dataclasses.dataclass(frozen=True)
class Config:
    learning_rate: float
    steps: int = 300


def train(experiment: Experiment, config: Config) -> None:
    experiment.write_metadata("config", config)
    experiment.log_hparams(config, metrics=("loss",))
    inputs, targets = load_diabetes(return_X_y=True)
    inputs, targets = inputs / inputs.std(), (targets - targets.mean()) / targets.std()

    @jax.jit
    def train_step(weights):
        loss, gradient = jax.value_and_grad(lambda w: jnp.mean((inputs @ w - targets) ** 2))(
            weights
        )
        return weights - config.learning_rate * gradient, TensorboardLogData({"loss": loss})

    weights = jnp.zeros(inputs.shape[1])
    for step in range(1, config.steps + 1):
        weights, log_data = train_step(weights)
        experiment.log(log_data, step)
    experiment.save_checkpoint(weights, config.steps)


def main(root: pathlib.Path, learning_rates: tuple[float, ...] = (0.001, 0.01, 0.1)) -> None:
    for rate in learning_rates:
        with Experiment(root / f"rate_{rate}").assert_new() as experiment:
            train(experiment, Config(learning_rate=rate))

    # Any later program finds them again, and needs nothing but the directory.
    def final_loss(experiment: Experiment) -> float:
        return experiment.read_scalars(["loss"])["loss"].value[-1]

    best = min(find_experiments(root), key=final_loss)
    config = best.read_metadata("config", Config)
    print(f"The best is {best.data_dir.name}: {config}, loss {final_loss(best):.4f}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
