"""Write what TensorBoard's EventAccumulator reads of every run: `python read_runs.py RUNS`.

Beside the event files of each run, as `expected.json`. TensorFlow takes the tensors apart, since
TensorBoard's own code does not know bfloat16.
"""

import json
import os
import pathlib
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorflow import make_ndarray

# Zero means that nothing is sampled away.
EVERYTHING = dict.fromkeys(
    ("compressedHistograms", "images", "audio", "scalars", "histograms", "tensors"), 0
)


def read(run: pathlib.Path) -> dict:
    accumulator = EventAccumulator(str(run), size_guidance=EVERYTHING)
    accumulator.Reload()
    scalars: dict[str, list] = {}
    histograms: dict[str, list] = {}
    other: list[str] = []
    for tag in accumulator.Tags()["scalars"]:
        scalars[tag] = [[e.step, e.wall_time, e.value] for e in accumulator.Scalars(tag)]
    for tag in accumulator.Tags()["histograms"]:
        histograms[tag] = [
            [
                event.step,
                event.wall_time,
                {
                    "min": event.histogram_value.min,
                    "max": event.histogram_value.max,
                    "num": event.histogram_value.num,
                    "sum": event.histogram_value.sum,
                    "sum_squares": event.histogram_value.sum_squares,
                    "bucket_limit": list(event.histogram_value.bucket_limit),
                    "bucket": list(event.histogram_value.bucket),
                },
            ]
            for event in accumulator.Histograms(tag)
        ]
    for tag in accumulator.Tags()["tensors"]:
        plugin = accumulator.SummaryMetadata(tag).plugin_data.plugin_name
        if plugin not in ("scalars", "histograms"):
            other.append(tag)
            continue
        series = scalars if plugin == "scalars" else histograms
        for event in accumulator.Tensors(tag):
            value = make_ndarray(event.tensor_proto)
            item = float(value) if plugin == "scalars" else {"left_right_count": value.tolist()}
            series.setdefault(tag, []).append([event.step, event.wall_time, item])
    other += accumulator.Tags()["images"]
    return {"scalars": scalars, "histograms": histograms, "other_tags": sorted(other)}


def main() -> None:
    runs = sorted(
        {file.parent for file in pathlib.Path(sys.argv[1]).rglob("events.out.tfevents.*")}
    )
    for run in runs:
        expected = read(run)
        (run / "expected.json").write_text(
            json.dumps(expected, indent=None) + "\n", encoding="utf-8"
        )
    print(f"{len(runs)} runs")


if __name__ == "__main__":
    main()
