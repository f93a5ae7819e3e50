"""The guide to the command line shows the output that the commands print."""

import pathlib
import re
import shlex

import pytest

from fifteen.cli import main

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "cli.md"
CHANGING = (
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME"),
    (r"\b17\d{8}(\.\d+)?\b", "SECONDS"),
    (r"[\d.]+ KiB", "SIZE"),
    (r" +SIZE", " SIZE"),
    (r" +\d+ (s|min)$", " AGE"),
    (r"\d+ s of logging", "N s of logging"),
    (r"[\d.e+]+ steps/s", "N steps/s"),
)


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def stable(text, here):
    text = text.replace(f"{here}/", "")
    for pattern, name in CHANGING:
        text = re.sub(pattern, name, text, flags=re.MULTILINE)
    return text


def test_guide_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for code in blocks("python"):
        exec(compile(code, str(PAGE), "exec"), {"__name__": "guide"})
    capsys.readouterr()
    shown = blocks("console")
    assert len(shown) >= 7
    for block in shown:
        command, _, expected = block.partition("\n")
        program, *arguments = shlex.split(command.removeprefix("$ "))
        assert program == "fifteen"
        main(arguments)
        printed = "".join(capsys.readouterr())
        assert stable(printed, tmp_path) == stable(expected, tmp_path), command


def test_guide_names_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    for command in re.findall(r"• (\w+)", capsys.readouterr().out):
        assert f"| `fifteen {command} " in PAGE.read_text()
