"""Write the runs with the packages of this environment: `python write_files.py DIRECTORY`.

Run by `make_corpus.py` in every environment. A run is a directory of its own,
`DIRECTORY/WRITER/CASE/`, and holds nothing but event files.
"""

import importlib.util
import os
import pathlib
import sys
import time

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np

SPECIAL = [
    0.0,
    -0.0,
    1.0,
    float("nan"),
    float("inf"),
    float("-inf"),
    1e-45,
    3.4e38,
    0.1,
    -1e-3,
    16777217.0,
]
TYPED = [
    3,
    -7,
    True,
    np.float64(0.1),
    np.float16(0.1),
    np.int64(2**40),
    np.uint8(255),
    np.float32(1e-8),
    10**15,
]
HISTOGRAMS = {
    "normal": np.random.RandomState(0).randn(1000).astype(np.float32),
    "uniform": np.random.RandomState(1).rand(500),
    "constant": np.full(10, 3.0, np.float32),
    "zeros": np.zeros(5, np.float32),
    "one_value": np.asarray([0.25], np.float32),
    "integers": np.arange(100),
    "wide": np.asarray([1e-30, 1e-3, 1.0, 1e3, 1e30], np.float32),
    "negative": -np.arange(1, 50, dtype=np.float32),
}


def curve(step):
    return 1.0 / (step + 1)


def write_tensorboard_x(root, make, special=True):
    """The runs of tensorboardX and of PyTorch's writer, whose methods are the same.

    `make(directory, **options)` opens a writer.
    """
    with make(root / "scalars") as writer:
        for step in range(20):
            writer.add_scalar("train/loss", curve(step), step)
            writer.add_scalar("train/accuracy", 1 - curve(step), step)
            if step % 5 == 0:
                writer.add_scalar("eval/loss", curve(step) * 2, step)

    with make(root / "special") as writer:
        for step, value in enumerate(SPECIAL):
            writer.add_scalar("special", value, step)

    with make(root / "typed") as writer:
        for step, value in enumerate(TYPED):
            writer.add_scalar("typed", value, step)

    with make(root / "tags") as writer:
        for tag in (
            "a",
            "a/b",
            "a/b/c",
            "loss (mean)",
            "gr\u00fc\u00dfe/\U0001f600",
            "x" * 200,
            "tag.with-dots_1",
        ):
            writer.add_scalar(tag, 0.5, 1)
            writer.add_scalar(tag, 0.25, 2)

    with make(root / "steps") as writer:
        for step in (0, 1, 2**31, 2**40, 2**62):
            writer.add_scalar("large", curve(step), step)
        writer.add_scalar("without_step", 0.5)
        for step in (-3, -1):
            writer.add_scalar("negative", 0.5, step)

    with make(root / "out_of_order") as writer:
        for number, step in enumerate((5, 3, 8, 3, 1, 8, 2)):
            writer.add_scalar("loss", float(number), step)

    with make(root / "repeated") as writer:
        for number in range(6):
            writer.add_scalar("loss", float(number), number // 3)

    with make(root / "wall_time") as writer:
        for step in range(5):
            writer.add_scalar("loss", curve(step), step, walltime=1.6e9 + step * 0.125)

    with make(root / "histograms") as writer:
        for step in range(2):
            for name, values in HISTOGRAMS.items():
                # The default, "tensorflow", makes up to 1,549 buckets.
                bins = "tensorflow" if name in ("one_value", "wide", "negative") else "auto"
                writer.add_histogram(name, values * (step + 1), step, bins=bins)

    with make(root / "mixed") as writer:
        for step in range(5):
            writer.add_scalar("loss", curve(step), step)
            writer.add_text("note", f"step *{step}*", step)
            writer.add_image("image", np.full((3, 4, 4), 40 * step, np.uint8), step)
            writer.add_histogram("weights", HISTOGRAMS["normal"] + step, step, bins=10)
        writer.add_scalar("after", 1.0, 5)

    with make(root / "empty"):
        pass

    for part in range(3):
        with make(root / "several_files") as writer:
            for step in range(part * 5, part * 5 + 5):
                writer.add_scalar("loss", curve(step) + part, step)
        time.sleep(1.1)  # The file's name holds the second; within one, the file is overwritten.

    with make(root / "restart") as writer:
        for step in range(10):
            writer.add_scalar("loss", curve(step), step)
            writer.add_histogram("weights", HISTOGRAMS["uniform"] * step, step, bins=5)
    time.sleep(1.1)
    with make(root / "restart", purge_step=6) as writer:
        for step in range(6, 12):
            writer.add_scalar("loss", 100 + curve(step), step)
            writer.add_histogram("weights", HISTOGRAMS["uniform"] * (100 + step), step, bins=5)

    with make(root / "restart_twice") as writer:
        for step in range(8):
            writer.add_scalar("loss", curve(step), step)
    time.sleep(1.1)
    with make(root / "restart_twice", purge_step=5) as writer:
        for step in range(5, 7):
            writer.add_scalar("loss", 100 + curve(step), step)
    time.sleep(1.1)
    with make(root / "restart_twice", purge_step=0) as writer:
        for step in range(3):
            writer.add_scalar("loss", 200 + curve(step), step)

    with make(root / "many") as writer:
        for step in range(150):
            for number in range(2):
                writer.add_scalar(f"tag_{number}", np.sin(step + number), step)


def write_torch(root):
    import torch
    from torch.utils.tensorboard import SummaryWriter
    from torch.utils.tensorboard.summary import hparams

    write_tensorboard_x(root, SummaryWriter)

    with SummaryWriter(root / "new_style") as writer:
        for step, value in enumerate(SPECIAL):
            writer.add_scalar("new", value, step, new_style=True)
            writer.add_scalar("new_double", value, step, new_style=True, double_precision=True)
            writer.add_scalar("old", value, step)

    with SummaryWriter(root / "tensors") as writer:
        for step, dtype in enumerate(
            ("float32", "float64", "float16", "bfloat16", "int64", "bool")
        ):
            writer.add_scalar(dtype, torch.tensor(1.5).to(getattr(torch, dtype)), step)
        writer.add_tensor("raw", torch.arange(6.0).reshape(2, 3), 0)

    with SummaryWriter(root / "hparams") as writer:
        for part in hparams({"lr": 1e-3, "layers": 2, "name": "a", "amp": True}, {"loss": 0.5}):
            writer.file_writer.add_summary(part)
        for step in range(3):
            writer.add_scalar("loss", curve(step), step)

    with SummaryWriter(root / "plugins") as writer:
        writer.add_scalar("loss", 0.5, 1)
        writer.add_pr_curve(
            "pr", np.asarray([0, 1, 1]), np.asarray([0.2, 0.6, 0.9]), 1, num_thresholds=5
        )
        writer.add_custom_scalars({"group": {"both": ["Multiline", ["loss"]]}})
        writer.add_images("images", np.zeros((2, 3, 2, 2), np.uint8), 1)
        writer.add_scalar("loss", 0.25, 2)


def write_tensorboard_writer(root):
    """The writer that TensorBoard brings, which does without TensorFlow."""
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary import Writer
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = Writer(str(root / "scalars"))
    for step in range(20):
        writer.add_scalar("loss", curve(step), step)
    writer.close()

    # One event with many values, as some writers put them, and a session marker between.
    writer = EventFileWriter(str(root / "one_event_a_step"))
    for start in (0, 4):
        if start:
            marker = SessionLog(status=SessionLog.START)
            writer.add_event(Event(wall_time=1.6e9 + 50, step=start, session_log=marker))
        for step in range(start, start + 6):
            values = [
                Summary.Value(tag=f"tag_{i}", simple_value=start * 100 + step + i) for i in range(5)
            ]
            writer.add_event(
                Event(
                    wall_time=1.6e9 + start * 100 + step, step=step, summary=Summary(value=values)
                )
            )
    writer.close()


def write_tensorflow(root):
    import tensorflow as tf

    def writer_of(case, **options):
        return tf.summary.create_file_writer(str(root / case), **options)

    with writer_of("scalars").as_default():
        for step in range(20):
            tf.summary.scalar("loss", curve(step), step)
            tf.summary.scalar("accuracy", 1 - curve(step), step)

    with writer_of("special").as_default():
        for step, value in enumerate(SPECIAL):
            tf.summary.scalar("special", value, step)

    with writer_of("typed").as_default():
        for step, value in enumerate(
            [3, -7, 0.1, tf.constant(0.1, tf.float64), tf.constant(0.1, tf.float16)]
        ):
            tf.summary.scalar("typed", value, step)
        tf.summary.scalar("bfloat16", tf.constant(0.1, tf.bfloat16), 0)

    # Scalars of every dtype, written as they are, where `tf.summary.scalar` would cast to float32.
    metadata = tf.compat.v1.SummaryMetadata(plugin_data={"plugin_name": "scalars"})
    with writer_of("dtypes").as_default():
        for name in (
            "float64",
            "float32",
            "float16",
            "bfloat16",
            "int64",
            "int32",
            "uint8",
            "int8",
            "bool",
        ):
            for step in range(3):
                value = tf.cast(tf.constant(step * 1.25), getattr(tf, name))
                tf.summary.write(name, value, step, metadata=metadata)

    with writer_of("scopes").as_default():
        with tf.name_scope("train"):
            tf.summary.scalar("loss", 0.5, 1)
        with tf.name_scope("eval"):
            tf.summary.scalar("loss", 0.25, 1)

    with writer_of("out_of_order").as_default():
        for number, step in enumerate((5, 3, 8, 3, 1, 8, 2)):
            tf.summary.scalar("loss", float(number), step)

    with writer_of("histograms").as_default():
        for step in range(3):
            for name, values in HISTOGRAMS.items():
                tf.summary.histogram(name, values * (step + 1), step)
        tf.summary.histogram("empty", np.zeros(0), 0)
        tf.summary.histogram("ten_buckets", HISTOGRAMS["normal"], 0, buckets=10)

    with writer_of("mixed").as_default():
        for step in range(5):
            tf.summary.scalar("loss", curve(step), step)
            tf.summary.text("note", f"step *{step}*", step)
            tf.summary.image("image", np.full((1, 4, 4, 3), 40 * step, np.uint8), step)
            tf.summary.histogram("weights", HISTOGRAMS["normal"] + step, step)

    for part in range(3):
        with writer_of("several_files", filename_suffix=f".part{part}").as_default():
            for step in range(part * 5, part * 5 + 5):
                tf.summary.scalar("loss", curve(step) + part, step)
        time.sleep(0.01)

    with writer_of("in_graph").as_default():

        @tf.function
        def step_fn(step):
            tf.summary.scalar("loss", 1.0 / tf.cast(step + 1, tf.float32), step=step)

        for step in range(5):
            step_fn(tf.constant(step, tf.int64))


def write_tensorflow_v1(root):
    import tensorflow as tf

    v1 = tf.compat.v1

    with tf.Graph().as_default():
        value = v1.placeholder(tf.float32, [None])
        merged = v1.summary.merge(
            [
                v1.summary.scalar("mean", tf.reduce_mean(value)),
                v1.summary.histogram("values", value),
            ]
        )
        writer = v1.summary.FileWriter(str(root / "session"))
        with v1.Session() as session:
            for step in range(10):
                writer.add_summary(session.run(merged, {value: HISTOGRAMS["normal"] * step}), step)
        writer.close()

        writer = v1.summary.FileWriter(str(root / "session_log"))
        start = v1.SessionLog.START
        for first in (0, 4, 2):
            writer.add_session_log(v1.SessionLog(status=start), first)
            for step in range(first, 8):
                summary = v1.Summary(
                    value=[v1.Summary.Value(tag="loss", simple_value=100 * first + step)]
                )
                writer.add_summary(summary, step)
        writer.close()

        writer = v1.summary.FileWriter(str(root / "reopened"))
        for part in range(2):
            for step in range(part * 3, part * 3 + 4):
                writer.add_summary(
                    v1.Summary(value=[v1.Summary.Value(tag="loss", simple_value=10 * part + step)]),
                    step,
                )
            writer.close()
            time.sleep(1.1)
            writer.reopen()
        writer.close()


def write_flax(root, writer_class):
    writer = writer_class(str(root / "scalars"))
    for step in range(20):
        writer.scalar("train/loss", curve(step), step)
        writer.scalar("train/accuracy", np.float32(1 - curve(step)), step)
    writer.close()

    # What a step of the experiment manager wrote: its scalars, then its histograms.
    writer = writer_class(str(root / "steps"))
    for step in range(6):
        writer.scalar("train/loss", np.float32(curve(step)), step)
        writer.scalar("train/grad_norm", np.float32(step), step)
        if step % 2 == 0:
            writer.histogram("train/grads", HISTOGRAMS["normal"] * step, step, bins=20)
    writer.close()

    writer = writer_class(str(root / "special"))
    for step, value in enumerate(SPECIAL):
        writer.scalar("special", value, step)
    writer.close()

    writer = writer_class(str(root / "histograms"))
    for step in range(2):
        for name, values in HISTOGRAMS.items():
            writer.histogram(name, values * (step + 1), step)
    writer.close()

    writer = writer_class(str(root / "mixed"))
    writer.hparams({"lr": 1e-3, "name": "a", "layers": 2})
    for step in range(4):
        writer.scalar("loss", curve(step), step)
        writer.text("note", f"step *{step}*", step)
        writer.image("image", np.full((4, 4, 3), 0.2 * step, np.float32), step)
        writer.histogram("weights", HISTOGRAMS["normal"] + step, step)
    writer.close()

    for part in range(2):
        writer = writer_class(str(root / "several_files"))
        for step in range(part * 3, part * 3 + 5):
            writer.scalar("loss", curve(step) + part, step)
        writer.close()
        time.sleep(0.01)


def write_clu(root):
    from clu import metric_writers

    writer = metric_writers.SummaryWriter(str(root / "scalars"))
    for step in range(20):
        writer.write_scalars(step, {"loss": curve(step), "accuracy": 1 - curve(step)})
    writer.close()

    writer = metric_writers.AsyncMultiWriter([metric_writers.SummaryWriter(str(root / "mixed"))])
    writer.write_hparams({"lr": 1e-3, "name": "a"})
    for step in range(5):
        writer.write_scalars(step, {"loss": curve(step), "special": SPECIAL[step + 2]})
        writer.write_texts(step, {"note": f"step *{step}*"})
        writer.write_histograms(
            step, {"weights": HISTOGRAMS["normal"] + step}, num_buckets={"weights": 10}
        )
        writer.write_images(step, {"image": np.full((1, 4, 4, 3), 0.2 * step, np.float32)})
    writer.close()


def installed(name):
    return importlib.util.find_spec(name) is not None


def version_of(name):
    from importlib import metadata

    return metadata.version(name)


def main():
    directory = pathlib.Path(sys.argv[1])
    if installed("tensorboardX"):
        import tensorboardX

        version = version_of("tensorboardX")
        # tensorboardX 1.8 wants its directory as a str.
        write_tensorboard_x(
            directory / f"tensorboardX-{version}",
            lambda path, **options: tensorboardX.SummaryWriter(str(path), **options),
        )
    if installed("torch"):
        write_torch(directory / "torch-{}".format(version_of("torch").split("+")[0]))
        write_tensorboard_writer(directory / "tensorboard-{}".format(version_of("tensorboard")))
    if installed("tensorflow"):
        version = version_of("tensorflow-cpu")
        write_tensorflow(directory / f"tensorflow-{version}")
        write_tensorflow_v1(directory / f"tensorflow.compat.v1-{version}")
        from flax.metrics import tensorboard

        write_flax(directory / "flax-{}".format(version_of("flax")), tensorboard.SummaryWriter)
    if installed("clu"):
        write_clu(directory / "clu-{}".format(version_of("clu")))


if __name__ == "__main__":
    main()
