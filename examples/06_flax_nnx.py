"""Train a Flax NNX model. Stop it at any moment, and --resume it.

python examples/06_flax_nnx.py --data-dir runs/nnx
"""

import jax
import jax.numpy as jnp
import optax
import tyro
from flax import nnx
from sklearn.datasets import load_digits

from fifteen.experiments import Experiment, TensorboardLogData


class Model(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(64, 128, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.out = nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, images):
        return self.out(self.dropout(nnx.relu(self.hidden(images))))


def main(data_dir: str, steps: int = 500, resume: bool = False) -> None:
    images, labels = map(jnp.asarray, load_digits(return_X_y=True))
    images = images / 16
    model = Model(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)

    def loss_fn(model, images, labels):
        logits = model(images)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        accuracy = (logits.argmax(-1) == labels).mean()
        return loss, TensorboardLogData({"loss": loss, "accuracy": accuracy})

    @nnx.jit
    def train_step(model, optimizer, step):
        batch = jax.random.choice(jax.random.fold_in(jax.random.key(1), step), len(images), (64,))
        grads, log_data = nnx.grad(loss_fn, has_aux=True)(model, images[batch], labels[batch])
        optimizer.update(model, grads)
        return log_data.merge(TensorboardLogData({"grad_norm": optax.global_norm(grads)}))

    experiment, start = Experiment(data_dir), 0
    if resume:
        # The state holds parameters, moments and the keys of dropout; `nnx.update` puts it back.
        state = experiment.assert_exists().restore_checkpoint(nnx.state((model, optimizer)))
        nnx.update((model, optimizer), state)
        start = experiment.checkpoint_steps()[-1]
        experiment.rewind_logs(start)
    else:
        experiment.assert_new()

    with experiment:
        for step in range(start + 1, steps + 1):
            experiment.log(train_step(model, optimizer, step).prefix("train/"), step)
            if step % 100 == 0:
                experiment.save_checkpoint(nnx.state((model, optimizer)), step, keep=2)

    model.eval()
    print(f"accuracy {loss_fn(model, images, labels)[1].scalars['accuracy']:.4f} at step {steps}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
