"""Train a small network on handwritten digits, and resume it wherever it was stopped.

python examples/01_digits.py --data-dir runs/digits --config.hidden 64  [--resume]
"""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import optax
import tyro
from rich.progress import track
from sklearn.datasets import load_digits

from fifteen.experiments import Experiment, TensorboardLogData


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3


@dataclasses.dataclass(frozen=True)
class Config:
    optimizer: OptimizerConfig = OptimizerConfig()
    hidden: int = 128
    steps: int = 3000
    checkpoint_every: int = 250


def main(data_dir: pathlib.Path, config: Config = Config(), resume: bool = False) -> None:
    experiment = Experiment(data_dir)
    if resume:
        config = experiment.assert_exists().read_metadata("config", Config)
    else:
        experiment.assert_new().write_metadata("config", config)
        experiment.write_provenance()
    keys = jax.random.split(jax.random.key(0), 4)
    images, labels = map(jnp.asarray, load_digits(return_X_y=True))
    test, train = jnp.split(jax.random.permutation(keys[0], len(images)), [360])
    init, n = jax.nn.initializers.he_normal(), config.hidden
    params = {"w1": init(keys[1], (64, n)), "b": jnp.zeros(n), "w2": init(keys[2], (n, 10))}
    optimizer = optax.adamw(**dataclasses.asdict(config.optimizer))

    def loss(params, batch):
        predicted = jax.nn.relu(images[batch] / 16 @ params["w1"] + params["b"]) @ params["w2"]
        losses = optax.softmax_cross_entropy_with_integer_labels(predicted, labels[batch])
        return losses.mean(), (predicted.argmax(-1) == labels[batch]).mean()

    def step_once(params, moments, step):  # The batch follows from the step: resuming repeats it.
        batch = jax.random.choice(jax.random.fold_in(keys[3], step), train, (64,))
        (value, accuracy), gradient = jax.value_and_grad(loss, has_aux=True)(params, batch)
        updates, moments = optimizer.update(gradient, moments, params)
        scalars = {"loss": value, "accuracy": accuracy, "gradient": optax.global_norm(gradient)}
        params = optax.apply_updates(params, updates)
        return params, moments, TensorboardLogData(scalars, {"w1": params["w1"]}).prefix("train/")

    train_step = jax.jit(step_once, donate_argnums=(0, 1))
    start, best, moments = 0, 0.0, optimizer.init(params)
    if resume and experiment.checkpoint_steps():
        start = experiment.checkpoint_steps()[-1]
        params, moments, best = experiment.restore_checkpoint((params, moments, best))
        experiment.rewind_logs(start)
    for step in track(range(start + 1, config.steps + 1), description="training"):
        params, moments, log_data = train_step(params, moments, step)
        experiment.log(log_data, step=step, log_histograms_every_n=100)
        if step % config.checkpoint_every == 0 or step == config.steps:
            accuracy = float(loss(params, test)[1])
            experiment.log(TensorboardLogData({"test/accuracy": accuracy}), step=step)
            if accuracy > best:
                best = accuracy
                experiment.save_checkpoint(params, step, prefix="checkpoint_best_", overwrite=True)
            experiment.save_checkpoint((params, moments, best), step, keep=3)


if __name__ == "__main__":
    tyro.cli(main)
