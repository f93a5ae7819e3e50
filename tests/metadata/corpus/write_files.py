"""Write the cases with the packages of this environment, and read each back with the same.

Run by `make_corpus.py` in every environment, down to Python 3.7: `python write_files.py DIRECTORY`. What is written
goes to `DIRECTORY/dataclass/` and `DIRECTORY/plain/`, and `DIRECTORY/cases.json` tells of each case
what became of it. A file counts only if its own package read it back equal to the value.
"""

import json
import os
import pathlib
import platform
import sys

os.environ["JAX_PLATFORMS"] = "cpu"
sys.path.insert(0, str(pathlib.Path(__file__).parent))

import corpus_types
import corpus_values
import yaml


def version_of(name):
    try:
        from importlib import metadata
    except ImportError:  # Python 3.7
        import importlib_metadata as metadata
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def dataclass_package():
    """The package that writes dataclasses here: its name, `to_yaml`, `from_yaml` and `MISSING`."""
    try:
        import dcargs

        extras = dcargs if hasattr(dcargs, "to_yaml") else dcargs.extras
        return "dcargs", extras.to_yaml, extras.from_yaml, dcargs.MISSING
    except ImportError:
        import tyro

        return "tyro", tyro.extras.to_yaml, tyro.extras.from_yaml, tyro.MISSING


def substitute(value, old, new):
    """`value` with the fields of its dataclasses that are `old` set to `new`, in place."""
    if hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            inner = getattr(value, name)
            if inner is old:
                setattr(value, name, new)
            elif hasattr(inner, "__dataclass_fields__"):
                substitute(inner, old, new)
    return value


def main():
    directory = pathlib.Path(sys.argv[1])
    package, to_yaml, from_yaml, missing = dataclass_package()
    names = corpus_values.namespace()
    versions = {
        "python": platform.python_version(),
        **{name: version_of(name) for name in (package, "PyYAML", "numpy", "jax")},
    }
    results = []

    def write(kind, name, type_text, expected_text, dump, load):
        result = {"kind": kind, "case": name, "type": type_text, "expected": expected_text}
        results.append(result)
        try:
            value = eval(expected_text, dict(names))
            text = dump(value)
        except Exception as error:
            result["not_written"] = f"{type(error).__name__}: {error}"[:300]
            return
        try:
            result["equal"] = corpus_types.same(load(text), eval(expected_text, dict(names)))
        except Exception as error:
            result["not_read"] = f"{type(error).__name__}: {error}"[:300]
        path = directory / kind / (name + ".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8"))

    dataclasses = {**corpus_values.DATACLASSES, **corpus_values.DATACLASSES_NUMPY}
    plain = {**corpus_values.PLAIN, **corpus_values.PLAIN_NUMPY}
    if versions["jax"]:
        dataclasses.update(corpus_values.DATACLASSES_JAX)
        plain.update(corpus_values.PLAIN_JAX)

    for name, (type_text, expected_text) in dataclasses.items():
        expected_type = eval(type_text, dict(names))
        write(
            "dataclass",
            name,
            type_text,
            expected_text,
            lambda value: to_yaml(substitute(value, corpus_types.MISSING, missing)),
            lambda text, expected_type=expected_type: substitute(
                from_yaml(expected_type, text), missing, corpus_types.MISSING
            ),
        )
    for name, (type_text, expected_text) in plain.items():
        write(
            "plain",
            name,
            type_text,
            expected_text,
            yaml.dump,
            lambda text: yaml.load(text, Loader=yaml.UnsafeLoader),
        )
    for name in (
        "dict_nested",
        "list_mixed",
        "dict_as_config",
        "tuple_nested",
        "numpy_scalars_in_dict",
    ):
        # PyYAML below 5.1 wrote the innermost collections in flow style.
        type_text, expected_text = plain[name]
        write(
            "plain",
            name + "_flow",
            type_text,
            expected_text,
            lambda value: yaml.dump(value, default_flow_style=None),
            lambda text: yaml.load(text, Loader=yaml.UnsafeLoader),
        )
    (directory / "cases.json").write_text(
        json.dumps({"versions": versions, "results": results}, indent=1)
    )


if __name__ == "__main__":
    main()
