"""A program for the old library, which runs unmodified.

python examples/04_old_program.py --config.experiment-name old
"""

import dataclasses
import itertools
import pathlib

import jax
import jax_dataclasses as jdc
import numpy as onp
import optax
import tyro
from jax import numpy as jnp

import fifteen


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    experiment_name: str
    learning_rate: float = 1e-2
    max_steps: int = 500
    hidden_units: tuple[int, ...] = (32, 32)


@jdc.pytree_dataclass
class TrainState:
    config: jdc.Static[TrainConfig]
    params: list[jnp.ndarray]
    optimizer_state: optax.OptState
    steps: jnp.ndarray

    @staticmethod
    def initialize(config):
        sizes = (1, *config.hidden_units, 1)
        keys = jax.random.split(jax.random.PRNGKey(94709), len(sizes) - 1)
        params = [
            jax.random.normal(key, shape) / onp.sqrt(shape[0])
            for key, shape in zip(keys, itertools.pairwise(sizes), strict=True)
        ]
        return TrainState(
            config, params, optax.adam(config.learning_rate).init(params), jnp.zeros((), int)
        )

    @jdc.jit
    def training_step(self, x, y):
        def compute_loss(params):
            *hidden, last = params
            out = x
            for weights in hidden:
                out = jnp.tanh(out @ weights)
            return jnp.mean((out @ last - y) ** 2)

        loss, grads = jax.value_and_grad(compute_loss)(self.params)
        optimizer = optax.adam(self.config.learning_rate)
        updates, optimizer_state = optimizer.update(grads, self.optimizer_state, self.params)
        log_data = fifteen.experiments.TensorboardLogData(
            scalars={"loss": loss, "grad_norm": optax.global_norm(grads)},
            histograms={f"layer{i}": weights for i, weights in enumerate(self.params)},
        )
        with jdc.copy_and_mutate(self) as state_next:
            state_next.params = optax.apply_updates(self.params, updates)
            state_next.optimizer_state = optimizer_state
            state_next.steps = self.steps + 1
        return state_next, log_data.prefix("train/")


def main(config: TrainConfig) -> None:
    experiment = fifteen.experiments.Experiment(
        data_dir=pathlib.Path("./experiments/") / config.experiment_name
    ).clear()
    experiment.write_metadata("train_config", config)
    experiment.write_metadata("note", {"numpy": onp.__version__, "seed": 94709})

    x = jnp.linspace(-1.0, 1.0, 256)[:, None]
    y = jnp.sin(3.0 * x)
    train_state = TrainState.initialize(config)
    for _ in range(config.max_steps):
        train_state, log_data = train_state.training_step(x, y)
        experiment.log(
            log_data,
            step=train_state.steps,
            log_scalars_every_n=10,
            log_histograms_every_n=100,
        )
        if train_state.steps % 100 == 0:
            experiment.save_checkpoint(
                train_state, step=int(train_state.steps), keep=3, keep_every_n_steps=200
            )
    picture = onp.clip(onp.asarray(y).reshape(16, 16), 0.0, 1.0)
    experiment.summary_writer.add_image("target", picture, 0, dataformats="HW")

    config = experiment.read_metadata("train_config", TrainConfig)
    train_state = experiment.restore_checkpoint(TrainState.initialize(config))
    try:
        experiment.assert_new()
    except AssertionError:
        print(f"Restored step {train_state.steps} of an experiment that exists.")


if __name__ == "__main__":
    tyro.cli(main)
