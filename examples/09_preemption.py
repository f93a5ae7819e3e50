"""Train on a machine that may be taken away: stop at SIGTERM, and continue there.

python examples/09_preemption.py --data-dir runs/preempted    (run it again to go on)
"""

import signal

import jax
import jax.numpy as jnp
import optax
import tyro
from sklearn.datasets import load_digits

from fifteen.experiments import Experiment, TensorboardLogData


def main(data_dir: str, steps: int = 5000, save_every: int = 1000) -> None:
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

    # Clusters send SIGTERM some seconds before they take the machine. Without this handler, logs
    # and a save in progress would still be completed, but no new checkpoint would be saved.
    is_preempted = False

    def on_sigterm(*_):
        nonlocal is_preempted
        is_preempted = True

    signal.signal(signal.SIGTERM, on_sigterm)

    weights = jnp.zeros((64, 10))
    state = 0, weights, optimizer.init(weights)
    with Experiment(data_dir) as experiment:
        # The same command starts and continues the run, so a scheduler can repeat it.
        if experiment.checkpoint_steps():
            state = experiment.restore_checkpoint(state)
            # After a SIGKILL, some steps are repeated, and their first points are dropped.
            experiment.rewind_logs(state[0])
        start, weights, moments = state
        for step in range(start + 1, steps + 1):
            weights, moments, log_data = train_step(weights, moments)
            experiment.log(log_data, step)
            if step % save_every == 0 or step == steps or is_preempted:
                experiment.save_checkpoint((step, weights, moments), step, keep=2)
            if is_preempted:
                print(f"Preempted: saved step {step}.")
                return
    print(f"Trained from step {start} to {steps}.")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
