"""Train a Flax linen model with a TrainState. Stop it at any moment, and --resume it.

python examples/07_flax_linen.py --data-dir runs/linen
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import tyro
from flax.training.train_state import TrainState
from sklearn.datasets import load_digits

from fifteen.experiments import Experiment, TensorboardLogData


class Model(nn.Module):
    @nn.compact
    def __call__(self, images):
        return nn.Dense(10)(nn.relu(nn.Dense(128)(images)))


def main(data_dir: str, steps: int = 500, resume: bool = False) -> None:
    images, labels = map(jnp.asarray, load_digits(return_X_y=True))
    images, model = images / 16, Model()
    params = model.init(jax.random.key(0), images[:1])["params"]
    state = TrainState.create(apply_fn=model.apply, params=params, tx=optax.adam(1e-3))

    def loss_fn(params, images, labels):
        logits = model.apply({"params": params}, images)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        accuracy = (logits.argmax(-1) == labels).mean()
        return loss, TensorboardLogData({"loss": loss, "accuracy": accuracy})

    @jax.jit
    def train_step(state):
        key = jax.random.fold_in(jax.random.key(1), state.step)
        batch = jax.random.choice(key, len(images), (64,))
        grads, log_data = jax.grad(loss_fn, has_aux=True)(
            state.params, images[batch], labels[batch]
        )
        return state.apply_gradients(grads=grads), log_data.prefix("train/")

    experiment = Experiment(data_dir)
    if resume:
        # Functions in the state, such as `apply_fn`, are those of the target, which is passed.
        state = experiment.assert_exists().restore_checkpoint(state)
        experiment.rewind_logs(int(state.step))
    else:
        experiment.assert_new()

    with experiment:
        for step in range(int(state.step) + 1, steps + 1):
            state, log_data = train_step(state)
            experiment.log(log_data, step)
            if step % 100 == 0:
                experiment.save_checkpoint(state, step, keep=2)

    accuracy = loss_fn(state.params, images, labels)[1].scalars["accuracy"]
    print(f"accuracy {accuracy:.4f} at step {steps}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
