"""`fifteen doctor` with a real S3 server."""

import re

import pytest

from fifteen.cli import main


def test_reachable_bucket(bucket, capsys):
    assert main(["doctor", bucket]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^  reading +works$", out, re.MULTILINE)
    assert "testing-secret" not in out


@pytest.mark.slow
def test_missing_bucket(absent, capsys):
    assert main(["doctor", absent]) == 1
    assert "failed: [Errno 2] there is no such bucket; create it" in capsys.readouterr().out
