"""Write every tree with the packages of this environment: `python write_files.py DIRECTORY PART`.

Run by `make_corpus.py` in every environment. A case is a directory, `DIRECTORY/WRITER/TREE/`, with
the checkpoint in it, named `checkpoint_3`, and `case.json`, what the writer itself reads back.
"""

import json
import os
import pathlib
import shutil
import sys

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
sys.path.insert(0, str(pathlib.Path(__file__).parent))

import corpus_targets
import jax
import numpy as np

STEP = 3
CHUNK = 1024


def version_of(name):
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


class Corpus:
    def __init__(self, directory, trees):
        self.directory = directory
        self.trees = trees
        self.versions = {
            name: version_of(name)
            for name in ("flax", "jax", "numpy", "optax", "orbax-checkpoint", "tensorstore")
        }
        self.versions = {name: version for name, version in self.versions.items() if version}
        self.versions["python"] = ".".join(map(str, sys.version_info[:3]))
        self.failures = []

    def write(self, writer, layout, tree, save, restore_raw, restore=None):
        """Save one tree and write down what its writer reads back.

        `save(directory, tree)` writes; `restore_raw(directory, tree)` reads without a target, and
        `restore(directory, target)`, where there is one, into the tree of zeros.
        """
        if self.trees and tree not in self.trees:
            return
        case = self.directory / writer / tree
        shutil.rmtree(case, ignore_errors=True)
        case.mkdir(parents=True)
        try:
            values = corpus_targets.values(tree)
            save(case, values)
            leaves = corpus_targets.described(restore_raw(case, values))
            into_target = None
            if restore is not None:
                try:
                    restored = restore(case, corpus_targets.target(tree))
                    into_target = corpus_targets.same(restored, values)
                except Exception as error:
                    into_target = f"{type(error).__name__}: {str(error).splitlines()[0][:150]}"
        except Exception as error:
            # A failed save of Orbax may still be at work in its threads; no `case.json`, no case.
            shutil.rmtree(case, ignore_errors=True)
            text = str(error).splitlines()[0][:200] if str(error) else ""
            text = text.replace(str(case), "CASE")
            self.failures.append(
                {"writer": writer, "tree": tree, "reason": f"{type(error).__name__}: {text}"}
            )
            return
        for note in case.rglob("commit_success.txt"):
            # Orbax notes where it wrote; only that the file is there counts.
            note.write_text(note.read_text().replace(f"{case}/", ""))
        names = sorted(path.name for path in case.iterdir())
        description = {
            "layout": layout,
            "tree": tree,
            "step": STEP,
            "names": names,
            "into_target": into_target,
            "writer": self.versions,
            "leaves": leaves,
        }
        (case / "case.json").write_text(
            json.dumps(description, indent=None).replace('{"path"', '\n{"path"') + "\n"
        )


def trees_without(*left_out):
    return [name for name in corpus_targets.TREES if name not in left_out]


def write_flax_msgpack(corpus):
    """Files of `flax.training.checkpoints` before Orbax, and of it with Orbax turned off."""
    import flax
    from flax import serialization
    from flax.training import checkpoints

    if hasattr(flax, "config") and hasattr(flax.config, "flax_use_orbax_checkpointing"):
        flax.config.update("flax_use_orbax_checkpointing", False)
    if hasattr(serialization, "MAX_CHUNK_SIZE"):
        serialization.MAX_CHUNK_SIZE = CHUNK
    writer = f"flax-{corpus.versions['flax']}-msgpack"

    def raw(case, _):
        return serialization.msgpack_restore((case / f"checkpoint_{STEP}").read_bytes())

    def restore(case, target):
        return checkpoints.restore_checkpoint(str(case), target, step=STEP)

    for tree in trees_without("large", "nnx_state"):
        corpus.write(
            writer,
            "flax msgpack file",
            tree,
            lambda case, values: checkpoints.save_checkpoint(str(case), values, STEP),
            raw,
            restore,
        )
    for tree in ("nested", "train_state", "chunked"):
        corpus.write(
            writer + "-bytes",
            "flax msgpack file",
            tree,
            lambda case, values: (case / f"checkpoint_{STEP}").write_bytes(
                serialization.to_bytes(values)
            ),
            raw,
            restore,
        )


def write_flax_gda(corpus):
    """A msgpack file whose sharded arrays lie in a directory beside it, `checkpoint_3_gda`.

    Flax takes that way for arrays that a process does not hold whole. Here one process of four
    devices holds them, and flax is told to take them for such.
    """
    import socket

    import flax
    from flax import serialization
    from flax.training import checkpoints
    from jax.experimental.array_serialization import serialization as arrays
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=1, process_id=0)
    flax.config.update("flax_use_orbax_checkpointing", False)
    checkpoints._is_multiprocess_array = lambda leaf: isinstance(leaf, jax.Array) and leaf.ndim > 0
    mesh = Mesh(np.asarray(jax.devices()).reshape(4), ("x",))
    sharding = NamedSharding(mesh, PartitionSpec("x"))

    def shard(tree):
        return jax.tree_util.tree_map(
            lambda leaf: (
                jax.device_put(leaf, sharding)
                if np.ndim(leaf) and np.shape(leaf)[0] % 4 == 0
                else leaf
            ),
            tree,
        )

    def save(case, values):
        manager = arrays.GlobalAsyncCheckpointManager()
        checkpoints.save_checkpoint_multiprocess(
            str(case), shard(values), STEP, gda_manager=manager
        )
        manager.wait_until_finished()

    def restore(case, target):
        manager = arrays.GlobalAsyncCheckpointManager()
        return checkpoints.restore_checkpoint(str(case), shard(target), STEP, gda_manager=manager)

    def raw(case, values):
        # Without a target flax reads no sharded array.
        return serialization.to_state_dict(values)

    for tree in ("large", "nested", "array"):
        corpus.write(
            f"flax-{corpus.versions['flax']}-gda",
            "flax msgpack file and _gda directory",
            tree,
            save,
            raw,
            restore,
        )


def write_flax_orbax(corpus):
    import flax
    from flax.training import checkpoints

    flax.config.update("flax_use_orbax_checkpointing", True)
    for tree in trees_without("optim_adam", "chunked_array"):
        corpus.write(
            f"flax-{corpus.versions['flax']}-orbax-{corpus.versions['orbax-checkpoint']}",
            "flax over Orbax",
            tree,
            lambda case, values: checkpoints.save_checkpoint(str(case), values, STEP),
            lambda case, _: checkpoints.restore_checkpoint(str(case), None, step=STEP),
            lambda case, target: checkpoints.restore_checkpoint(str(case), target, step=STEP),
        )


ORBAX_TREES = (
    "nested",
    "containers",
    "long_list",
    "jax_dtypes",
    "numpy_dtypes",
    "shapes",
    "empty_arrays",
    "numpy_scalars",
    "python_scalars",
    "strings",
    "nothing",
    "empty_containers",
    "odd_keys",
    "slash_keys",
    "int_keys",
    "optax_adam",
    "optax_chain",
    "frozen_dict",
    "train_state",
    "struct_dataclass",
    "jax_dataclass",
    "nnx_state",
    "chunked",
    "large",
    "array",
)


def write_orbax(corpus):
    import inspect

    import orbax.checkpoint as ocp

    name = f"orbax-{corpus.versions['orbax-checkpoint']}"

    def path_of(case):
        return str(case / f"checkpoint_{STEP}")

    handlers = {"pytree": lambda: ocp.PyTreeCheckpointHandler()}
    parameters = inspect.signature(ocp.PyTreeCheckpointHandler.__init__).parameters
    if "use_ocdbt" in parameters:
        handlers = {
            "pytree": lambda: ocp.PyTreeCheckpointHandler(use_ocdbt=True),
            "pytree-zarr": lambda: ocp.PyTreeCheckpointHandler(use_ocdbt=False),
        }
    if "use_zarr3" in parameters:
        handlers["pytree-zarr3"] = lambda: ocp.PyTreeCheckpointHandler(
            use_ocdbt=True, use_zarr3=True
        )
    if hasattr(ocp, "StandardCheckpointHandler"):
        handlers["standard"] = lambda: ocp.StandardCheckpointHandler()

    # Between the oldest and the newest release, what differs shows in a few trees.
    middle = corpus.versions["orbax-checkpoint"] in ("0.3.5", "0.5.23", "0.10.3")
    core = (
        "nested",
        "containers",
        "jax_dtypes",
        "python_scalars",
        "strings",
        "nothing",
        "train_state",
        "nnx_state",
        "large",
    )

    for kind, make_handler in handlers.items():
        if middle:
            trees = core
        elif kind == "standard":
            trees = (
                "nested",
                "containers",
                "jax_dtypes",
                "numpy_dtypes",
                "python_scalars",
                "train_state",
            )
        elif kind == "pytree-zarr":
            trees = (
                "nested",
                "containers",
                "jax_dtypes",
                "python_scalars",
                "strings",
                "train_state",
                "large",
                "nothing",
            )
        elif kind == "pytree-zarr3":
            trees = ("nested", "jax_dtypes", "python_scalars", "train_state", "large")
        else:
            trees = ORBAX_TREES

        def save(case, values, make_handler=make_handler):
            checkpointer = ocp.Checkpointer(make_handler())
            checkpointer.save(path_of(case), values)
            if hasattr(checkpointer, "close"):
                checkpointer.close()

        def raw(case, _, make_handler=make_handler):
            return ocp.Checkpointer(make_handler()).restore(path_of(case))

        for tree in trees:
            corpus.write(f"{name}-{kind}", f"Orbax v0 {kind}", tree, save, raw)

    def manager_of(case):
        options = ocp.CheckpointManagerOptions(step_prefix="checkpoint", create=True)
        try:
            return ocp.CheckpointManager(str(case), options=options)
        except TypeError:
            return ocp.CheckpointManager(
                str(case), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()), options
            )

    def save_managed(case, values):
        manager = manager_of(case)
        if hasattr(ocp, "args"):
            manager.save(STEP, args=ocp.args.StandardSave(values))
        else:
            manager.save(STEP, values)
        if hasattr(manager, "wait_until_finished"):
            manager.wait_until_finished()
        if hasattr(manager, "close"):
            manager.close()

    def raw_managed(case, _):
        manager = manager_of(case)
        if hasattr(ocp, "args"):
            return manager.restore(STEP, args=ocp.args.StandardRestore())
        return manager.restore(STEP)

    for tree in (
        "nested",
        "containers",
        "jax_dtypes",
        "python_scalars",
        "optax_adam",
        "train_state",
        "large",
    ):
        corpus.write(
            f"{name}-manager", "Orbax v0 CheckpointManager", tree, save_managed, raw_managed
        )

    if hasattr(ocp, "args") and hasattr(ocp.args, "Composite"):

        def save_items(case, values):
            manager = ocp.CheckpointManager(
                str(case),
                options=ocp.CheckpointManagerOptions(step_prefix="checkpoint", create=True),
                item_names=("state", "extra"),
            )
            items = ocp.args.Composite(
                state=ocp.args.StandardSave(values), extra=ocp.args.JsonSave({"epoch": 2})
            )
            manager.save(STEP, args=items)
            manager.wait_until_finished()
            manager.close()

        def raw_items(case, _):
            manager = ocp.CheckpointManager(
                str(case),
                options=ocp.CheckpointManagerOptions(step_prefix="checkpoint"),
                item_names=("state", "extra"),
            )
            return manager.restore(STEP, args=ocp.args.Composite(state=ocp.args.StandardRestore()))[
                "state"
            ]

        for tree in ("nested", "train_state"):
            corpus.write(
                f"{name}-manager-items",
                "Orbax v0 CheckpointManager with named items",
                tree,
                save_items,
                raw_items,
            )


def write_orbax_v1(corpus):
    import orbax.checkpoint.experimental.v1 as ocp

    name = f"orbax-{corpus.versions['orbax-checkpoint']}-v1"
    for tree in ORBAX_TREES:
        corpus.write(
            name,
            "Orbax v1 save",
            tree,
            lambda case, values: getattr(ocp, "save", getattr(ocp, "save_pytree", None))(
                case / f"checkpoint_{STEP}", values
            ),
            lambda case, _: getattr(ocp, "load", getattr(ocp, "load_pytree", None))(
                case / f"checkpoint_{STEP}"
            ),
        )

    def training(case):
        from orbax.checkpoint.experimental.v1 import path

        return ocp.training.Checkpointer(
            case, step_name_format=path.step.standard_name_format(step_prefix="checkpoint")
        )

    def save_training(case, values):
        with training(case) as checkpointer:
            getattr(checkpointer, "save", getattr(checkpointer, "save_pytree", None))(STEP, values)

    def raw_training(case, _):
        with training(case) as checkpointer:
            return getattr(checkpointer, "load", getattr(checkpointer, "load_pytree", None))(STEP)

    for tree in ("nested", "python_scalars", "train_state", "nnx_state", "large"):
        corpus.write(
            name + "-training", "Orbax v1 training.Checkpointer", tree, save_training, raw_training
        )


def installed(name):
    import importlib.util

    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def main():
    directory, part = pathlib.Path(sys.argv[1]), sys.argv[2]
    if not installed("orbax"):
        import shims

        shims.install()
    import logging

    logging.disable(logging.ERROR)
    corpus = Corpus(directory, sys.argv[3:])
    {
        "msgpack": write_flax_msgpack,
        "gda": write_flax_gda,
        "flax-orbax": write_flax_orbax,
        "orbax": write_orbax,
        "orbax-v1": write_orbax_v1,
    }[part](corpus)
    with open(directory / "failures.jsonl", "a") as file:
        for failure in corpus.failures:
            file.write(json.dumps(failure) + "\n")
    print(part, corpus.versions, len(corpus.failures), "failures")


if __name__ == "__main__":
    main()
