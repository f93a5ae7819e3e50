"""Malicious files, and a program that reads each in its own process.

    python hostile_files.py DIRECTORY

It prints as JSON for each file: refused or read, CPU time and peak memory.
"""

import dataclasses
import json
import os
import pathlib
import resource
import sys
import time
import warnings
from typing import Any


def bombs() -> dict[str, bytes]:
    """Return small files that would become large, deep or endless."""
    lol = b"a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + b"".join(
        b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 10)) for i in range(1, 12)
    )
    maps = b"a0: &a0 {k: v}\n" + b"".join(
        b"a%d: &a%d {%s}\n" % (i, i, b", ".join(b"k%d: *a%d" % (j, i - 1) for j in range(10)))
        for i in range(1, 10)
    )
    chain = b"- &b0 [1]\n" + b"".join(
        b"- &b%d [*b%d, *b%d]\n" % (i, i - 1, i - 1) for i in range(1, 60)
    )
    return {
        "aliases": lol,
        "alias_maps": maps,
        "alias_doubling": chain,
        "alias_wide": b"- &a " + b"x" * 10_000 + b"\n" + b"- *a\n" * 400_000,
        "alias_too_many": b"- &a x\n" + b"- *a\n" * 3_000_000,
        "alias_merge": b"a0: &a0 {x: 1}\n" + b"".join(
            b"a%d: &a%d {<<: [*a%d, *a%d]}\n" % (i, i, i - 1, i - 1) for i in range(1, 40)
        ),
        "alias_itself": b"&a [*a]\n",
        "alias_itself_map": b"&a {x: *a}\n",
        "alias_itself_key": b"&a {? *a : 1}\n",
        "alias_each_other": b"a: &a [&b {x: *a}, *b]\n",
        "alias_unknown": b"a: *nowhere\n",
        "alias_in_tuple": b"&a !!python/tuple [*a]\n",
        "alias_in_object": b"&a !!python/object/apply:builtins.frozenset [[*a]]\n",
        "deep_flow": b"[" * 100_000,
        "deep_flow_closed": b"[" * 100_000 + b"]" * 100_000,
        "deep_maps": b"{a: " * 100_000 + b"1" + b"}" * 100_000,
        "deep_block": b"- " * 100_000 + b"x\n",
        "deep_keys": b"? " * 100_000 + b"x\n",
        "deep_indent": b"".join(b" " * i + b"a:\n" for i in range(3_000)),
        "deep_tags": b"!!python/tuple [" * 20_000 + b"]" * 20_000,
        "deep_101": b"[" * 101 + b"]" * 101,
        "many_lists": b"[" + b"[]," * 5_000_000 + b"]",
        "many_nulls": b"- \n" * 5_000_000,
        "many_keys": b"".join(b"k%d: 1\n" % i for i in range(600_000)),
        "one_line_200_MB": b"a: " + b"x" * 200_000_000,
        "one_line_30_MB": b"a: " + b"x" * 30_000_000 + b"\n",
        "one_quoted_30_MB": b'a: "' + b"x" * 30_000_000 + b'"\n',
        "escapes_30_MB": b'a: "' + b"\\x41" * 7_500_000 + b'"\n',
        "comment_30_MB": b"#" * 30_000_000 + b"\na: 1\n",
        "blank_30_MB": b"\n" * 30_000_000 + b"a: 1\n",
        "folded_30_MB": b"a: >\n" + b"  x\n" * 7_000_000,
        "int_of_a_million_digits": b"a: " + b"9" * 1_000_000 + b"\n",
        "hex_of_a_million_digits": b"a: 0x" + b"f" * 1_000_000 + b"\n",
        "float_of_a_million_digits": b"a: 0." + b"9" * 1_000_000 + b"\n",
        "float_exponent": b"a: 1e999999999999\n",
        "sexagesimal": b"a: 1" + b":59" * 300_000 + b"\n",
        "range": b"a: !!python/object/apply:builtins.range [0, 99999999999999999999]\n",
        "range_to_set": b"!!python/object/apply:builtins.frozenset [!!python/object/apply:builtins.range [0, 9999999999]]\n",
        "range_to_deque": b"!!python/object/apply:collections.deque [!!python/object/apply:builtins.range [0, 9999999999]]\n",
        "bytes_of_10_GB": b"!!python/object/apply:builtins.bytearray [10000000000]\n",
        "decimal_exponent": b"!!python/object/apply:decimal.Decimal ['1e999999999999999999']\n",
        "fraction_exponent": b"!!python/object/apply:fractions.Fraction ['1e999999999']\n",
        "own_fraction_exponent": b"a: !fraction '1e999999999'\n",
        "array_of_10_GB": b"!array {dtype: float64, shape: [100000, 100000], values: []}\n",
        "array_negative": b"!array {dtype: float64, shape: [-1, 0], values: []}\n",
        "array_wide_text": b"!array {dtype: U999999999, values: [a, b, c, d, e, f]}\n",
        "numpy_wide_text": b"!!python/object/apply:numpy.dtype {args: [U99999999999], state: !!python/tuple [3, <]}\n",
    }  # fmt: skip


def attacks(canary: str) -> dict[str, bytes]:
    """Return files with code that would create the file `canary`."""
    touch = canary.encode()
    py = b"!!python/"
    return {
        "apply_system": py + b"object/apply:os.system ['touch %s']\n" % touch,
        "apply_system_map": py + b"object/apply:os.system {args: ['touch %s']}\n" % touch,
        "apply_popen": py + b"object/apply:subprocess.Popen [[touch, %s]]\n" % touch,
        "apply_check_output": py + b"object/apply:subprocess.check_output [[touch, %s]]\n" % touch,
        "apply_eval": py + b"object/apply:eval ['open(\"%s\", \"w\")']\n" % touch,
        "apply_exec": py + b"object/apply:builtins.exec ['open(\"%s\", \"w\")']\n" % touch,
        "apply_open": py + b"object/apply:builtins.open [%s, w]\n" % touch,
        "apply_getattr": py + b"object/apply:builtins.getattr [!!python/name:os.system '', x]\n",
        "apply_path": py + b"object/apply:pathlib.Path.touch [%s]\n" % touch,
        "apply_map": py + b"object/new:tuple [!!python/object/new:map [!!python/name:eval '', ['1']]]\n",
        "new_system": py + b"object/new:os.system ['touch %s']\n" % touch,
        "new_popen": py + b"object/new:subprocess.Popen [[touch, %s]]\n" % touch,
        "new_type": py + b"object/new:type {args: [x, !!python/tuple [], {}], state: {x: 1}}\n",
        "new_str_state": py + b"object/new:str {args: [], state: !!python/tuple ['x', {extend: 1}]}\n",
        "object_module": py + b"object:canary_module.Thing {a: 1}\n",
        "name_module": py + b"name:canary_module.thing ''\n",
        "name_system": py + b"name:os.system ''\n",
        "name_numpy_load": py + b"name:numpy.load ''\n",
        "module": py + b"module:canary_module ''\n",
        "module_os": py + b"module:os ''\n",
        "pickle_loads": py + b"object/apply:pickle.loads [!!binary gASVIQAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAR0cnVllIWUUpQu]\n",
        "copyreg": py + b"object/apply:copyreg.__newobj__ [!!python/name:os.system '']\n",
        "numpy_pickle": py + b"object/apply:numpy._core.multiarray._reconstruct {args: [!!python/name:os.system '', !!python/tuple [0], !!binary Yg==], state: !!python/tuple [1]}\n",
        "numpy_object": py + b"object/apply:numpy._core.multiarray._reconstruct {args: [], state: !!python/tuple [1, !!python/tuple [1], !!python/object/apply:numpy.dtype {args: [O8, false, true], state: !!python/tuple [3, '|']}, false, !!binary AAAAAAAAAAA=]}\n",
        "numpy_short": py + b"object/apply:numpy._core.multiarray.scalar [!!python/object/apply:numpy.dtype {args: [f8, false, true], state: !!python/tuple [3, <]}, !!binary AA==]\n",
        "numpy_dtype_code": py + b"object/apply:numpy.dtype {args: ['f8, O'], state: !!python/tuple [3, <]}\n",
        "numpy_dtype_syntax": py + b"object/apply:numpy.dtype {args: ['(2,)__import__(\"os\")'], state: !!python/tuple [3, <]}\n",
        "jax_function": py + b"object/apply:jax._src.array._reconstruct_array [!!python/name:os.system '', !!python/tuple [x], !!python/tuple [1, 2, 3, 4, 5], {}]\n",
        "own_dtype_object": b"!dtype object\n",
        "own_dtype_name": b"!dtype np.memmap\n",
        "own_dtype_dunder": b"!dtype jnp.__class__\n",
        "own_array_object": b"!array {dtype: object, base64: AAAAAAAAAAA=}\n",
        "own_class": b"!dataclass:os.system {}\n",
        "own_class_path": b"!dataclass:canary_module.Thing {a: 1}\n",
        "own_enum": b"!enum:canary_module.Thing x\n",
        "tag_directive": b"%TAG !e! tag:yaml.org,2002:python/object/apply:\n--- !e!os.system ['touch " + touch + b"']\n",
        "verbatim_tag": b"!<tag:yaml.org,2002:python/object/apply:os.system> ['touch " + touch + b"']\n",
        "merge": b"x: &a {q: 1}\n<<: *a\n",
        "merge_list": b"<<: [{a: 1}, {b: 2}]\n",
        "merge_nothing": b"<<: 1\n",
        "value_key": b"=: 1\n",
        "duplicate": b"a: 1\na: 2\n",
        "duplicate_forms": b"1: a\n0x1: b\n01: c\n",
        "duplicate_nested": b"a: {b: 1, b: 2}\n",
        "list_as_key": b"? [1]\n: 2\n",
        "map_as_key": b"? {a: 1}\n: 2\n",
        "set_as_key": b"? !!set {a}\n: 2\n",
        "latin_1": b"a: caf\xe9\n",
        "utf_16": "a: 1\n".encode("utf-16"),
        "utf_16_be": "a: 1\n".encode("utf-16-be"),
        "utf_32": "a: 1\n".encode("utf-32"),
        "utf_7": b"a: +AGE-\n",
        "overlong": b"a: \xc0\xaf\n",
        "surrogate": b"a: \xed\xa0\x80\n",
        "surrogate_escape": b'a: "\\ud800"\n',
        "too_large_escape": b'a: "\\U00110000"\n',
        "nul": b"a: \0\n",
        "nuls": b"\0" * 1_000_000,
        "control": b"a: \x07\n",
        "delete": b"a: \x7f\n",
        "byte_order_mark": b"\xef\xbb\xbfa: 1\n",
        "byte_order_mark_inside": b"a: \xef\xbb\xbf1\n",
        "random": bytes(i * 7919 % 256 for i in range(100_000)),
        "elf": b"\x7fELF\x02\x01\x01" + bytes(100),
        "empty": b"",
        "spaces": b"   \n \n",
        "only_comment": b"# nothing\n",
        "two_documents": b"a: 1\n---\na: 2\n",
        "directive": b"%YAML 9.9\n---\na: 1\n",
        "tab": b"a:\n\t- 1\n",
        "unclosed": b"a: [1, 2\n",
        "unclosed_quote": b'a: "x\n',
        "bad_indent": b"a:\n  b: 1\n c: 2\n",
        "omap": b"!!omap [a: 1, 2]\n",
        "pairs": b"!!pairs {a: 1}\n",
        "set_of_values": b"!!set {a: 1}\n",
        "binary": b"!!binary '*'\n",
        "timestamp": b"!!timestamp '2026-99-99'\n",
        "date": b"a: 2026-02-31\n",
        "long_tag": b"!" + b"x" * 1_000_000 + b" a\n",
        "long_anchor": b"&" + b"x" * 1_000_000 + b" a\n",
        "long_key": b"x" * 2_000 + b": 1\n",
        "header_only": b"# fifteen.experiments metadata\n",
        "header_hostile": b"# fifteen.experiments metadata !!python/object/apply:os.system\na: 1\n...\n",
        "header_bytes": b"# fifteen.experiments metadata \xff\na: 1\n...\n",
    }  # fmt: skip


@dataclasses.dataclass
class Config:
    """A program's config."""

    a: int = 1
    b: "Config | None" = None


def judge(path: pathlib.Path, kind: Any) -> str:
    """Read a file, and return the result."""
    from fifteen.experiments import metadata
    from fifteen.experiments._errors import MetadataError

    try:
        metadata.read(path.parent, path.stem, kind)
    except MetadataError as error:
        return f"refused: {str(error)[:500]}"
    return "read"


def main(directory: pathlib.Path) -> None:
    """Write the files, and read each as several types, each in its own process."""
    baseline = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    canary = directory / "canary"
    (directory / "canary_module.py").write_text(f"open({str(canary)!r}, 'w')\n")
    for name, data in {**attacks(str(canary)), **bombs()}.items():
        (directory / f"{name}.yaml").write_bytes(data)
    del data
    from fifteen.experiments import metadata  # noqa: F401  # so that the processes have it already

    warnings.simplefilter("ignore")
    sys.path.insert(0, str(directory))
    for path in sorted(directory.glob("*.yaml")):
        for kind in (Any, Config, dict[str, int]):
            reader, writer = os.pipe()
            start = time.monotonic()
            process = os.fork()
            if process == 0:
                os.close(reader)
                resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
                try:
                    verdict = judge(path, kind)
                except BaseException as error:
                    verdict = f"raised {type(error).__name__}: {str(error)[:200]}"
                os.write(writer, verdict.encode(errors="replace"))
                os._exit(0)
            os.close(writer)
            with open(reader, "rb") as pipe:
                verdict = pipe.read().decode()
            _, status, usage = os.wait4(process, 0)
            print(
                json.dumps(
                    {
                        "file": path.stem,
                        "type": str(kind),
                        "verdict": verdict,
                        "status": status,
                        "wall": time.monotonic() - start,
                        "cpu": usage.ru_utime + usage.ru_stime,
                        "memory": (usage.ru_maxrss - baseline) * 1024,
                    }
                ),
                flush=True,
            )


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
