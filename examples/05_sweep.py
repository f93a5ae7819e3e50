"""Train with several learning rates and seeds, each an experiment of its own, and compare them.

python examples/05_sweep.py --root runs/sweep
fifteen list runs/sweep --where 'max(test/accuracy) > 0.9' --sort test/loss:min
fifteen compare runs/sweep --over seed
fifteen plot runs/sweep test/accuracy --over seed
fifteen report runs/sweep --output sweep.html
tensorboard --logdir runs/sweep    (and its HParams tab)
"""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import tyro
from sklearn.datasets import load_digits

from fifteen.experiments import Experiment, TensorboardLogData, find_experiments


@dataclasses.dataclass(frozen=True)
class Config:
    learning_rate: float
    seed: int
    steps: int


def train(experiment: Experiment, config: Config) -> None:
    experiment.write_metadata("config", config)
    experiment.log_hparams(config, metrics=("test/accuracy",))
    images, labels = map(jnp.asarray, load_digits(return_X_y=True))
    init_key, split_key, batch_key = jax.random.split(jax.random.key(config.seed), 3)
    test, train = jnp.split(jax.random.permutation(split_key, len(images)), [600])

    def loss_fn(weights, part):
        logits = images[part] / 16 @ weights
        loss = -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(part)), labels[part]])
        return loss, {"loss": loss, "accuracy": (logits.argmax(-1) == labels[part]).mean()}

    @jax.jit
    def train_step(weights, step):
        batch = jax.random.choice(jax.random.fold_in(batch_key, step), train, (32,))
        gradient, scalars = jax.grad(loss_fn, has_aux=True)(weights, batch)
        log_data = TensorboardLogData(scalars).prefix("train/")
        log_data = log_data.merge(TensorboardLogData(loss_fn(weights, test)[1]).prefix("test/"))
        return weights - config.learning_rate * gradient, log_data

    weights = jax.random.normal(init_key, (64, 10))
    for step in range(1, config.steps + 1):
        weights, log_data = train_step(weights, step)
        experiment.log(log_data, step)
    experiment.save_checkpoint(weights, config.steps)


def main(
    root: pathlib.Path,
    learning_rates: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0),
    seeds: tuple[int, ...] = (0, 1, 2),
    steps: int = 300,
) -> None:
    for rate in learning_rates:
        for seed in seeds:
            with Experiment(root / f"rate_{rate}_seed_{seed}").assert_new() as experiment:
                train(experiment, Config(rate, seed, steps))

    # Any later program finds them by the directory alone.
    best, *_ = find_experiments(root).sort("last(test/loss)")
    print(f"The best is {best.data_dir.name}: {best.read_metadata('config', Config)}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
