"""Train an Equinox model. Stop it at any moment, and --resume it.

python examples/08_equinox.py --data-dir runs/equinox
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import tyro
from sklearn.datasets import load_digits

from fifteen.experiments import Experiment, TensorboardLogData


def main(data_dir: str, steps: int = 500, resume: bool = False) -> None:
    images, labels = map(jnp.asarray, load_digits(return_X_y=True))
    images = images / 16
    model = eqx.nn.MLP(64, 10, width_size=128, depth=1, key=jax.random.key(0))
    optimizer = optax.adam(1e-3)
    state = model, optimizer.init(eqx.filter(model, eqx.is_inexact_array))

    def loss_fn(model, images, labels):
        logits = jax.vmap(model)(images)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        accuracy = (logits.argmax(-1) == labels).mean()
        return loss, TensorboardLogData({"loss": loss, "accuracy": accuracy})

    @eqx.filter_jit(donate="all")
    def train_step(state, step):
        model, moments = state
        batch = jax.random.choice(jax.random.fold_in(jax.random.key(1), step), len(images), (64,))
        grads, log_data = eqx.filter_grad(loss_fn, has_aux=True)(
            model, images[batch], labels[batch]
        )
        updates, moments = optimizer.update(grads, moments)
        return (eqx.apply_updates(model, updates), moments), log_data.prefix("train/")

    experiment, start = Experiment(data_dir), 0
    if resume:
        # A module is a pytree; parts that are no arrays, such as the activation, are kept.
        state = experiment.assert_exists().restore_checkpoint(state)
        start = experiment.checkpoint_steps()[-1]
        experiment.rewind_logs(start)
    else:
        experiment.assert_new()

    with experiment:
        for step in range(start + 1, steps + 1):
            state, log_data = train_step(state, jnp.asarray(step))
            experiment.log(log_data, step)
            if step % 100 == 0:
                # The next step donates the state's buffers, which is safe: they are copied first.
                experiment.save_checkpoint(state, step, keep=2, blocking=False)

    accuracy = loss_fn(state[0], images, labels)[1].scalars["accuracy"]
    print(f"accuracy {accuracy:.4f} at step {steps}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
