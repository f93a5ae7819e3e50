"""The output of each command on thirty experiments of six kinds.

`FIFTEEN_GOLDEN=1 pytest tests/cli/test_golden.py` rewrites the expected output.
"""

import os
import pathlib
import re
import shlex
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import thirty_experiments

GOLDEN = pathlib.Path(__file__).parent / "golden"

COMMANDS = {
    "list": "list .",
    "list_all": "list ours --all --format csv",
    "list_best": "list . --where 'min(loss)<0.2' --sort min(loss) --limit 5 --columns lr min(loss)",
    "list_status": "list . --where \"status != 'unknown'\" --columns status diverged_at --format md",
    "list_json": "list old yaml --format json",
    "list_nothing": "list . --where lr>100",
    "list_damaged": "list damaged",
    "show": "show ours/run_0",
    "show_old": "show old/run_1",
    "show_damaged": "show damaged/run_0",
    "compare": "compare ours/run_0 old/run_0 tensorboardx/run_1",
    "compare_over": "compare ours --over seed --tags train/*",
    "scalars": "scalars old/run_2 --format csv",
    "plot": "plot . *loss --where steps==10",
    "plot_over": "plot ours train/loss --over seed --log-y",
    "export": "export . --output ../points.csv",
    "report": "report damaged --output ../report.html",
    "prune": "prune . --keep 1",
    "rm": "rm yaml damaged",
    "verify": "verify .",
    "watch": "watch .",
    "watch_columns": "watch running/run_1 --columns lr min(loss)",
    "watch_nothing": "watch ours",
    "archive": "archive yaml/run_0 yaml/run_1 --output ..",
    "unarchive": (
        "archive yaml/run_2 --output ../one.tar.zst"
        " && unarchive ../one.tar.zst ../absent.tar.zst --into ../unpacked"
    ),
    # These change the experiments, so they come last.
    "note": "note yaml 'not tried' --tag todo --where 'lr < 1'",
    "move": "move yaml/run_0 running/run_1 elsewhere/",
    "rm_done": "rm yaml/run_1 --yes",
}
FAILING = {
    *("list", "list_damaged", "list_status", "export", "report", "verify", "unarchive", "move"),
}
CHANGING = (
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d([+-]\d\d:\d\d)?", "TIME"),
    (r"\b1[78]\d{8}(\.\d+)?\b", "SECONDS"),
    (r"events\.out\.tfevents\.[\w.-]+", "EVENTS"),
    (r"\b[\d.]+ (MiB|KiB|B)\b|(?<=\"size\": )\d+", "SIZE"),
    (r"\b\d+ (s|min|h|d)\b( of logging)?", "DURATION"),
    (r"[\d.e+-]+(/s| steps/s)", "SPEED"),
    (r"bytes \d+ to \d+", "bytes A to B"),
    (r" {2,}", "  "),
    (r" +$", ""),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpus")
    processes = thirty_experiments.make(root)
    yield root
    for process in processes:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


def stable(text, root):
    text = text.replace(str(root), "ROOT")
    for pattern, name in CHANGING:
        text = re.sub(pattern, name, text, flags=re.MULTILINE)
    return re.sub(r"(?<=\d,)\d+(?=,TIME)", "SIZE", text)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_output(run, root, name):
    *before, last = map(shlex.split, COMMANDS[name].split(" && "))
    for arguments in before:
        run(*arguments, cwd=root)
    result = run(*last, cwd=root, expect=int(name in FAILING))
    printed = stable(result.stdout + "--- stderr\n" + result.stderr, root)
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("FIFTEEN_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(printed)
    assert printed == path.read_text()
