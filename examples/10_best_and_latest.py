"""Keep the latest checkpoints to resume from, and the best one to use.

python examples/10_best_and_latest.py --data-dir runs/best
"""

import jax
import jax.numpy as jnp
import optax
import tyro
from sklearn.datasets import load_digits

from fifteen.experiments import Experiment, TensorboardLogData


def main(data_dir: str, steps: int = 1000, learning_rate: float = 0.05) -> None:
    images, labels = map(jnp.asarray, load_digits(return_X_y=True))
    images = images / 16
    # Few training images, so that the model soon overfits.
    train, test = slice(0, 200), slice(200, None)
    optimizer = optax.adam(learning_rate)

    def loss_fn(weights, part):
        logits = images[part] @ weights
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels[part]).mean()

    @jax.jit
    def train_step(weights, moments):
        loss, gradient = jax.value_and_grad(loss_fn)(weights, train)
        updates, moments = optimizer.update(gradient, moments)
        log_data = TensorboardLogData({"train/loss": loss, "test/loss": loss_fn(weights, test)})
        return optax.apply_updates(weights, updates), moments, log_data

    weights, best = jnp.zeros((64, 10)), jnp.inf
    moments = optimizer.init(weights)
    with Experiment(data_dir).assert_new() as experiment:
        for step in range(1, steps + 1):
            before = weights
            weights, moments, log_data = train_step(weights, moments)
            experiment.log(log_data, step)
            if step % 20 == 0:
                # Each prefix has its own steps: the best is a single file, which is replaced.
                if log_data.scalars["test/loss"] < best:
                    best = float(log_data.scalars["test/loss"])
                    experiment.save_checkpoint(before, step, "best_", overwrite=True)
                # The latest two are kept, and one older checkpoint every 500 steps.
                experiment.save_checkpoint((weights, moments), step, keep=2, keep_every_n_steps=500)

        (best_step,) = experiment.checkpoint_steps("best_")
        chosen = experiment.restore_checkpoint(weights, prefix="best_")
        print(f"best at step {best_step}: test loss {loss_fn(chosen, test):.4f}")
        print(f"latest at step {steps}: test loss {loss_fn(weights, test):.4f}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
