"""Files by dcargs, tyro and `yaml.dump` read equal to what their own packages read."""

import dataclasses
import functools
import importlib.util
import json
import pathlib
import sys
from typing import Any

import pytest
from strictly import same

from fifteen.experiments import metadata

CORPUS = pathlib.Path(__file__).parent / "corpus"
CASES: list[dict[str, Any]] = json.loads((CORPUS / "manifest.json").read_text())["cases"]


@functools.cache
def namespace() -> dict[str, Any]:
    for name in ("corpus_types", "corpus_values"):
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, CORPUS / f"{name}.py")
            assert spec
            assert spec.loader
            sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])
    import tyro

    # The corpus has one stand-in for the sentinels of all packages.
    return {**sys.modules["corpus_values"].namespace(), "MISSING": tyro.MISSING}


def ordered(value: Any) -> Any:
    """Sort dicts, since `yaml.dump` sorts comparable keys."""
    if type(value) is dict:
        return {k: ordered(v) for k, v in sorted(value.items(), key=lambda item: repr(item[0]))}
    if dataclasses.is_dataclass(value):
        return [type(value), ordered(vars(value))]
    return type(value)(map(ordered, value)) if type(value) in (list, tuple) else value


def test_the_corpus_is_large_and_old():
    assert len(CASES) >= 200
    writers = {case["file"].split("/")[0] for case in CASES}
    assert any(writer.startswith("dcargs-0.3.22") for writer in writers)
    assert any(writer.startswith("tyro-0.") for writer in writers)
    assert any(writer.startswith("tyro-1.") for writer in writers)


@pytest.mark.parametrize("case", CASES, ids=[case["file"].removesuffix(".yaml") for case in CASES])
def test_old_file_reads_as_before(case):
    path = CORPUS / "files" / case["file"]
    expected = eval(case["expected"], namespace())
    result = metadata.read(path.parent, path.stem, eval(case["type"], namespace()))
    assert same(ordered(expected), ordered(result))
