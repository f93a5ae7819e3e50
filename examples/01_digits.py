"""Train a small network on handwritten digits. Stop it at any moment, and --resume it.

python examples/01_digits.py --data-dir runs/digits --config.optimizer.learning-rate 1e-3
"""

import dataclasses

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
    save_every: int = 250


def main(data_dir: str, config: Config = Config(), resume: bool = False) -> None:
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
    params = {"w1": init(keys[1], (64, n)), "b1": jnp.zeros(n), "w2": init(keys[2], (n, 10))}
    optimizer = optax.adamw(**dataclasses.asdict(config.optimizer))

    def loss_fn(params, batch):
        logits = jax.nn.relu(images[batch] / 16 @ params["w1"] + params["b1"]) @ params["w2"]
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels[batch]).mean()
        accuracy = (logits.argmax(-1) == labels[batch]).mean()
        return loss, TensorboardLogData({"loss": loss, "accuracy": accuracy})

    def update(params, moments, step):  # The step decides the batch: a resumed run repeats it.
        batch = jax.random.choice(jax.random.fold_in(keys[3], step), train, (64,))
        grads, logs = jax.grad(loss_fn, has_aux=True)(params, batch)
        logs = logs.merge(TensorboardLogData({"grad_norm": optax.global_norm(grads)}, params))
        updates, moments = optimizer.update(grads, moments, params)
        return optax.apply_updates(params, updates), moments, logs.prefix("train/")

    train_step = jax.jit(update, donate_argnums=(0, 1))
    state = 0, 0.0, params, optimizer.init(params)
    if resume and experiment.checkpoint_steps():
        state = experiment.restore_checkpoint(state)
    start, best, params, moments = state
    if resume:
        experiment.rewind_logs(start)
    for step in track(range(start + 1, config.steps + 1), "Training"):
        params, moments, logs = train_step(params, moments, step)
        experiment.log(logs, step, log_histograms_every_n=100)
        if step % config.save_every == 0 or step == config.steps:
            logs = loss_fn(params, test)[1]
            experiment.log(logs.prefix("test/"), step)
            if logs.scalars["accuracy"] > best:  # A kill between the two saves repeats the first.
                best = float(logs.scalars["accuracy"])
                experiment.save_checkpoint(params, step, "checkpoint_best_", overwrite=True)
            experiment.save_checkpoint((step, best, params, moments), step, keep=3)


if __name__ == "__main__":
    tyro.cli(main)
