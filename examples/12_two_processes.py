"""Train in two processes, as on two hosts, and save one checkpoint together.

python examples/12_two_processes.py --data-dir runs/two
"""

import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import tyro
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from sklearn.datasets import load_diabetes

from fifteen.experiments import Experiment, TensorboardLogData


def main(data_dir: str, steps: int = 200, address: str = "", process: int | None = None) -> None:
    if process is None:  # On a cluster, the scheduler starts a process per host.
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{listener.getsockname()[1]}"
        command = [sys.executable, __file__, "--data-dir", data_dir, "--steps", str(steps)]
        command += ["--address", address, "--process"]
        children = [subprocess.Popen([*command, str(index)]) for index in range(2)]
        if sum(abs(child.wait()) for child in children):
            raise SystemExit("A process has failed.")
        return

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, num_processes=2, process_id=process)
    train(data_dir, steps)


def train(data_dir: str, steps: int) -> None:
    mesh = Mesh(jax.devices(), ("data",))
    by_row, everywhere = (
        NamedSharding(mesh, PartitionSpec("data")),
        NamedSharding(mesh, PartitionSpec()),
    )
    inputs, targets = load_diabetes(return_X_y=True)
    rows = len(inputs) // jax.device_count() * jax.device_count()
    inputs = inputs[:rows] / inputs.std()
    targets = (targets[:rows] - targets.mean()) / targets.std()

    # Each process passes all rows and keeps those of its own devices.
    inputs = jax.make_array_from_callback(inputs.shape, by_row, lambda index: inputs[index])
    targets = jax.make_array_from_callback(targets.shape, by_row, lambda index: targets[index])
    weights = jax.jit(lambda: jnp.zeros(inputs.shape[1]), out_shardings=everywhere)()

    @jax.jit
    def train_step(weights, inputs, targets):
        loss, gradient = jax.value_and_grad(lambda w: jnp.mean((inputs @ w - targets) ** 2))(
            weights
        )
        return weights - 0.05 * gradient, TensorboardLogData({"loss": loss})

    # Every process makes the same calls. Process 0 writes metadata and logs, and each process its
    # part of a checkpoint.
    with Experiment(data_dir).assert_new() as experiment:
        experiment.write_metadata("config", {"steps": steps})
        for step in range(1, steps + 1):
            weights, log_data = train_step(weights, inputs, targets)
            experiment.log(log_data, step)
            # Only for devices of the CPU, as in 03_devices.py.
            weights.block_until_ready()
            if step % 100 == 0:
                experiment.save_checkpoint(weights, step, blocking=False)
        # Waits for the save in progress.
        restored = experiment.restore_checkpoint(weights)
        print(f"process {jax.process_index()}: restored {restored.shape} of step {steps}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
