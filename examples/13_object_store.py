"""Train with everything in a bucket: losing the machine loses at most ten seconds of logs.

python examples/13_object_store.py --address s3://bucket/runs/digits    (run it again to go on)

Credentials come from the environment, as the cloud's own tools find them.
"""

import jax
import jax.numpy as jnp
import optax
import tyro
from sklearn.datasets import load_digits

from fifteen.experiments import Experiment, TensorboardLogData, find_experiments


def main(address: str = "memory://bucket/runs/digits", steps: int = 500) -> None:
    images, labels = map(jnp.asarray, load_digits(return_X_y=True))
    optimizer = optax.adam(1e-2)

    def loss_fn(weights):
        logits = images / 16 @ weights
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @jax.jit
    def train_step(weights, moments):
        loss, gradient = jax.value_and_grad(loss_fn)(weights)
        updates, moments = optimizer.update(gradient, moments)
        return optax.apply_updates(weights, updates), moments, TensorboardLogData({"loss": loss})

    weights = jnp.zeros((64, 10))
    state = {"weights": weights, "moments": optimizer.init(weights), "step": 0}

    # The same calls as for a directory. `log` never waits for the network, and a checkpoint is
    # complete or absent.
    with Experiment(address) as experiment:
        if experiment.checkpoint_steps():
            state = experiment.restore_checkpoint(state)
            experiment.rewind_logs(state["step"])
        else:
            experiment.write_metadata("config", {"steps": steps, "learning_rate": 1e-2})
        first = state["step"]
        for step in range(first + 1, first + steps + 1):
            weights, moments, log_data = train_step(state["weights"], state["moments"])
            state = {"weights": weights, "moments": moments, "step": step}
            experiment.log(log_data, step)
            if step % 100 == 0:
                experiment.save_checkpoint(state, step, keep=2, blocking=False)
    print(f"Trained from step {first} to {state['step']}.")

    # Any machine can read the experiment, also from the command line:
    #   fifteen list s3://bucket/runs
    for found in find_experiments(experiment.data_dir.parent):
        loss = found.read_scalars()["loss"]
        print(f"{found.data_dir}: loss {loss.value[-1]:.3f} at step {loss.step[-1]}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
