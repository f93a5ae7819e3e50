"""Train inside `jax.lax.scan`: a hundred steps per call, and each of them logged.

python examples/02_scan.py --data-dir runs/scan
"""

import jax
import jax.numpy as jnp
import optax
import tyro
from sklearn.datasets import load_digits

from fifteen.experiments import Experiment, TensorboardLogData


def main(data_dir: str, chunks: int = 20, steps_in_chunk: int = 100) -> None:
    images, labels = map(jnp.asarray, load_digits(return_X_y=True))
    optimizer = optax.sgd(0.05, momentum=0.9)

    def loss_fn(weights):
        logits = images / 16 @ weights
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        accuracy = (logits.argmax(-1) == labels).mean()
        return loss, TensorboardLogData({"loss": loss, "accuracy": accuracy})

    def step_once(state, _):
        weights, momentum = state
        grads, log_data = jax.grad(loss_fn, has_aux=True)(weights)
        updates, momentum = optimizer.update(grads, momentum)
        return (optax.apply_updates(weights, updates), momentum), log_data

    @jax.jit
    def train(state):
        # The second result of `step_once` is stacked, one row per step.
        return jax.lax.scan(step_once, state, length=steps_in_chunk)

    weights = jnp.zeros((64, 10))
    state = weights, optimizer.init(weights)
    with Experiment(data_dir).assert_new() as experiment:
        for chunk in range(chunks):
            state, log_data = train(state)
            first = chunk * steps_in_chunk + 1
            experiment.log(log_data, step=range(first, first + steps_in_chunk))
            # The next chunk is trained while this checkpoint is written.
            experiment.save_checkpoint(state, (chunk + 1) * steps_in_chunk, blocking=False)

    accuracy = experiment.read_scalars()["accuracy"]
    print(f"{len(accuracy.step)} steps, accuracy {accuracy.value[-1]:.3f} on the training set")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
