"""Train on several devices, here eight of the CPU, and log one value of each scalar.

python examples/03_devices.py --data-dir runs/devices
"""

import functools

import jax
import jax.numpy as jnp
import tyro
from jax.sharding import NamedSharding, PartitionSpec
from sklearn.datasets import load_digits

from fifteen.experiments import Experiment, TensorboardLogData


def main(data_dir: str, devices: int = 8, steps: int = 300) -> None:
    jax.config.update("jax_num_cpu_devices", devices)
    mesh = jax.make_mesh((devices,), ("batch",))
    by_batch, everywhere = PartitionSpec("batch"), PartitionSpec()

    def loss_fn(weights, images, labels):
        log_probabilities = jax.nn.log_softmax(images @ weights)
        return -jnp.mean(log_probabilities[jnp.arange(len(labels)), labels])

    @jax.jit
    @functools.partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(everywhere, by_batch, by_batch),
        out_specs=(everywhere, by_batch),
    )
    def train_step(weights, images, labels):
        # This runs on each device, with the device's share of the images. The gradient is summed
        # over the devices, since the weights are the same on all of them.
        loss, gradient = jax.value_and_grad(loss_fn)(weights, images, labels)
        scalars = {
            "loss/mean": jax.lax.pmean(loss, "batch"),
            "loss/first_device": loss,
        }
        # A device returns its scalars as an array of one value: eight of them come back as (8,).
        log_data = TensorboardLogData(jax.tree.map(lambda value: value[None], scalars))
        return weights - 0.5 * gradient / devices, log_data

    images, labels = load_digits(return_X_y=True)
    share = len(images) // devices * devices
    images = jax.device_put(images[:share] / 16, NamedSharding(mesh, by_batch))
    labels = jax.device_put(labels[:share], NamedSharding(mesh, by_batch))
    weights = jax.device_put(jnp.zeros((64, 10)), NamedSharding(mesh, everywhere))

    with Experiment(data_dir).assert_new() as experiment:
        for step in range(1, steps + 1):
            weights, log_data = train_step(weights, images, labels)
            experiment.log(log_data.fix_sharded_scalars(), step)
            # CPU devices wait for each other in threads, and queued steps can exhaust the
            # threads. Other devices need no such line.
            weights.block_until_ready()
        experiment.save_checkpoint(weights, steps)

    # A restored array takes the sharding of its target.
    restored = experiment.restore_checkpoint(weights)
    print(f"Restored on {len(restored.sharding.device_set)} devices.")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
