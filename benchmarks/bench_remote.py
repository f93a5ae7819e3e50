"""Object stores: ours, the peers and the bare library, with an S3 server on this machine.

    python benchmarks/bench_remote.py [--megabytes 256] [--experiments 1000] [--rounds 3] [--fast]

The server is moto's, in its own process; it is slower than any network, so only the ratios count.
With `--fast` it is `memory_s3`, which the peers below do not understand. With `--delay 30` it is as
well, and each of its answers takes 30 ms longer, as in a network.
Orbax's paths cannot name other servers than Amazon's, so TensorStore, its engine, takes its place
with the same chunks. Rounds are interleaved, and times are medians.
"""

import argparse
import concurrent.futures
import importlib.util
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests" / "remote"))

import jax.numpy as jnp
import numpy as np
import obstore
import obstore.store
import s3_server

from fifteen.experiments import Experiment, TensorboardLogData, find_experiments

State = dict[str, np.ndarray[Any, Any]]
LEAVES = 40
PART_BYTES = 8 << 20
REQUESTS = 8
CALLS = 20_000
HEAD_BYTES = 1 << 16


def timed(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def medians(rounds: int, actions: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return the median time of each action, in interleaved rounds."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            times[name].append(timed(action))
    return {name: statistics.median(found) for name, found in times.items()}


def show(title: str, times: dict[str, float], unit: str, scale: float) -> None:
    """Print times, and their ratios to the first."""
    print(f"\n{title}")
    first = next(iter(times.values()))
    for name, seconds in times.items():
        print(f"  {name:34} {seconds * scale:10.2f} {unit}   {seconds / first:6.2f}")


def checkpoints(address: str, endpoint: str, megabytes: int, rounds: int, is_fast: bool) -> None:
    import tensorstore

    generator = np.random.default_rng(0)
    each = (megabytes << 20) // LEAVES // 4
    state: State = {f"w{n}": generator.random(each, np.float32) for n in range(LEAVES)}
    on_device = {name: jnp.asarray(leaf) for name, leaf in state.items()}
    empty = {name: np.zeros_like(leaf) for name, leaf in state.items()}
    bucket = address.removeprefix("s3://")
    store = obstore.store.from_url(address)
    options = {"use_multipart": True, "chunk_size": PART_BYTES, "max_concurrency": REQUESTS}
    experiment = Experiment(f"{address}/ours", verbose=False)

    def check(found: State) -> None:
        if not all(np.array_equal(found[name], leaf) for name, leaf in state.items()):
            raise AssertionError("what was restored differs from what was saved")

    def obstore_save() -> None:
        obstore.put(store, "obstore", (memoryview(x).cast("B") for x in state.values()), **options)

    def obstore_restore() -> State:
        content = memoryview(bytearray(each * 4 * LEAVES))

        def fetch(at: int) -> None:
            end = min(at + PART_BYTES, len(content))
            content[at:end] = memoryview(obstore.get_range(store, "obstore", start=at, end=end))

        with concurrent.futures.ThreadPoolExecutor(REQUESTS) as pool:
            list(pool.map(fetch, range(0, len(content), PART_BYTES)))
        return dict(zip(state, np.frombuffer(content, np.float32).reshape(LEAVES, -1), strict=True))

    def opened(name: str, create: bool) -> Any:
        spec = {
            "driver": "zarr3",
            "kvstore": {
                "driver": "s3",
                "bucket": bucket,
                "path": f"tensorstore/{name}/",
                "endpoint": endpoint,
                "aws_region": "us-east-1",
                "aws_credentials": {"type": "environment"},
            },
        }
        return tensorstore.open(
            spec,
            create=create,
            delete_existing=create,
            open=not create,
            **({"dtype": np.float32, "shape": [each]} if create else {}),
        )

    def tensorstore_save() -> None:
        arrays = {name: opened(name, True) for name in state}
        writes = [array.result().write(state[name]) for name, array in arrays.items()]
        for write in writes:
            write.result()

    def tensorstore_restore() -> State:
        arrays = {name: opened(name, False) for name in state}
        reads = {name: array.result().read() for name, array in arrays.items()}
        return {name: read.result() for name, read in reads.items()}

    steps = iter(range(1, 1000))
    saves: dict[str, Callable[[], Any]] = {
        "obstore alone": obstore_save,
        "ours": lambda: experiment.save_checkpoint(on_device, next(steps)),
        "ours, of NumPy arrays": lambda: experiment.save_checkpoint(state, next(steps)),
        "TensorStore (Orbax's engine)": tensorstore_save,
    }
    restores: dict[str, Callable[[], State]] = {
        "obstore alone": obstore_restore,
        "ours": lambda: experiment.restore_checkpoint(empty),
        "TensorStore (Orbax's engine)": tensorstore_restore,
    }
    if importlib.util.find_spec("s3fs") is None:
        print("\ns3fs is not installed (pip install s3fs)")
    else:
        import s3fs

        files = s3fs.S3FileSystem(endpoint_url=endpoint)

        def s3fs_save() -> None:
            with files.open(f"{bucket}/s3fs", "wb", block_size=PART_BYTES) as file:
                for leaf in state.values():
                    file.write(memoryview(leaf).cast("B"))

        def s3fs_restore() -> State:
            content = files.cat_file(f"{bucket}/s3fs")
            return dict(
                zip(state, np.frombuffer(content, np.float32).reshape(LEAVES, -1), strict=True)
            )

        saves["s3fs"], restores["s3fs"] = s3fs_save, s3fs_restore
    if is_fast:
        for peer in ("TensorStore (Orbax's engine)", "s3fs"):
            saves.pop(peer, None)
            restores.pop(peer, None)
    show(f"Save {megabytes} MiB", medians(rounds, saves), "s ", 1)
    for restore in restores.values():
        check(restore())
    show(f"Restore {megabytes} MiB", medians(rounds, restores), "s ", 1)


def logging(address: str, rounds: int) -> None:
    """Log scalars, and measure the calls."""
    data = TensorboardLogData({f"tag{number}": number / 7 for number in range(5)})

    def log_all(experiment: Experiment) -> None:
        for step in range(CALLS):
            experiment.log(data, step)

    with tempfile.TemporaryDirectory() as directory:
        experiments = {
            "local directory": Experiment(f"{directory}/run", verbose=False),
            "object store": Experiment(f"{address}/log", verbose=False),
        }
        actions = {name: lambda e=e: log_all(e) for name, e in experiments.items()}
        times = medians(rounds, actions)
        show("One call of log", times, "us", 1e6 / CALLS)
        for experiment in experiments.values():
            experiment.close()
            if len(experiment.read_scalars()["tag1"].step) != CALLS:
                raise AssertionError("some of what was logged is missing")


def listing(address: str, count: int, rounds: int) -> None:
    """List experiments with a config and an event file each."""
    store = obstore.store.from_url(address)
    with tempfile.TemporaryDirectory() as directory:
        with Experiment(f"{directory}/run", verbose=False) as experiment:
            experiment.write_metadata("config", {"lr": 0.1, "seed": 3})
            experiment.log(TensorboardLogData({"loss": np.arange(3.0)}), step=range(3))
        contents = {
            path.name: path.read_bytes() for path in pathlib.Path(directory, "run").iterdir()
        }
    keys = [f"many/run_{number}/{name}" for number in range(count) for name in contents]

    def fetch(key: str) -> int:
        return len(obstore.get_range(store, key, start=0, length=HEAD_BYTES))

    def all_alone() -> None:
        found = [meta["path"] for meta in obstore.list(store, "many").collect()]
        with concurrent.futures.ThreadPoolExecutor(REQUESTS) as pool:
            sizes = list(pool.map(fetch, found))
        if len(sizes) != len(keys):
            raise AssertionError("the listing is incomplete")

    def ours() -> None:
        if len(find_experiments(f"{address}/many").to_pandas()) != count:
            raise AssertionError("some of the experiments are missing")

    with concurrent.futures.ThreadPoolExecutor(REQUESTS) as pool:
        list(pool.map(lambda key: obstore.put(store, key, contents[key.rpartition("/")[2]]), keys))
    times = medians(
        rounds,
        {"the listing and a read per file": all_alone, "find_experiments and to_pandas": ours},
    )
    show(f"List {count:,} experiments", times, "s ", 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--delay", type=float, default=0.0)
    arguments = parser.parse_args()
    is_fast = arguments.fast or arguments.delay > 0
    script = str(pathlib.Path(__file__).with_name("memory_s3.py"))
    server = (script, str(arguments.delay)) if is_fast else ()
    with (
        tempfile.TemporaryDirectory() as directory,
        s3_server.running(pathlib.Path(directory, "server.log"), *server) as port,
    ):
        endpoint = f"http://127.0.0.1:{port}"
        os.environ.update(s3_server.variables(endpoint))
        address = f"s3://{s3_server.make_bucket(port)}"
        logging(address, arguments.rounds)
        checkpoints(address, endpoint, arguments.megabytes, arguments.rounds, is_fast)
        listing(address, arguments.experiments, arguments.rounds)


if __name__ == "__main__":
    main()
