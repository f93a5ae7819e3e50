"""Train a new last layer on top of another experiment's first one.

python examples/11_fine_tuning.py --root runs/transfer
"""

import pathlib

import jax
import jax.numpy as jnp
import optax
import tyro
from sklearn.datasets import load_digits

from fifteen.experiments import Experiment, TensorboardLogData


def new_params(classes: int, seed: int):
    first, last = jax.random.split(jax.random.key(seed))
    init = jax.nn.initializers.he_normal()
    return {"hidden": init(first, (64, 128)), "head": {"weights": init(last, (128, classes))}}


def train(experiment: Experiment, params, labels, steps: int, frozen: bool):
    images = jnp.asarray(load_digits().data / 16)
    # The optimizer sets the updates of the frozen layer to zero.
    labels_of = {"hidden": "frozen" if frozen else "trained", "head": "trained"}
    rules = {"trained": optax.adam(1e-2), "frozen": optax.set_to_zero()}
    optimizer = optax.multi_transform(rules, labels_of)

    def loss_fn(params):
        logits = jax.nn.relu(images @ params["hidden"]) @ params["head"]["weights"]
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        accuracy = (logits.argmax(-1) == labels).mean()
        return loss, TensorboardLogData({"loss": loss, "accuracy": accuracy})

    @jax.jit
    def train_step(params, moments):
        grads, log_data = jax.grad(loss_fn, has_aux=True)(params)
        updates, moments = optimizer.update(grads, moments, params)
        return optax.apply_updates(params, updates), moments, log_data

    moments = optimizer.init(params)
    for step in range(1, steps + 1):
        params, moments, log_data = train_step(params, moments)
        experiment.log(log_data, step)
    experiment.save_checkpoint(params, steps)
    print(f"{experiment.data_dir.name}: accuracy {log_data.scalars['accuracy']:.4f}")
    return params


def main(root: pathlib.Path, steps: int = 100) -> None:
    digits = jnp.asarray(load_digits().target)
    with Experiment(root / "digits").assert_new() as source:
        train(source, new_params(10, seed=0), digits, steps, frozen=False)

    with Experiment(root / "even_or_odd").assert_new() as experiment:
        params = new_params(2, seed=1)
        # Only leaves of the target are read, and a warning names the rest: the old head, which has
        # another shape.
        target = {"hidden": params["hidden"]}
        params |= source.restore_checkpoint(target, partial=True)
        train(experiment, params, digits % 2, steps, frozen=True)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
