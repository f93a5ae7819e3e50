"""Permanent errors are raised at once, say what to do, and reveal no secret."""

import contextlib
import os
import pickle
import re
import signal
import subprocess
import sys
import time
import uuid
import warnings

import boto3
import numpy as np
import pytest

from fifteen.cli import main
from fifteen.experiments import Experiment, TensorboardLogData, UnsafePathError, find_experiments
from fifteen.experiments.provenance._redaction import redact_command
from fifteen.experiments.storage import Directory
from fifteen.experiments.storage._remote import _store

SECRET = "wJalrXUtnFEMIbPxRfiCYEXAMPLEKEY"
TOKEN = "IQoJb3JpZ2luX2VjEXAMPLETOKEN"


def answer(code):
    """Return an error of S3, which may contain a session token."""
    return (
        f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>no: {code}</Message>'
        f"<Token-0>{TOKEN}</Token-0><AWSAccessKeyId>AKIAIOSFODNN7EXAMPLE</AWSAccessKeyId></Error>"
    ).encode()


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (403, "AccessDenied", "access is denied; check the credentials in the environment"),
        (403, "SignatureDoesNotMatch", "access is denied; check the credentials"),
        (403, "InvalidAccessKeyId", "access is denied; check the credentials"),
        (403, "RequestTimeTooSkewed", "the clock of this machine is wrong"),
        (400, "ExpiredToken", "the credentials have expired; renew them in the environment"),
        (400, "InvalidToken", "the credentials are not valid"),
        (404, "NoSuchBucket", "there is no such bucket; create it, or check the address"),
        (400, "InvalidArgument", "InvalidArgument"),
        (301, "PermanentRedirect", "the bucket is in another region"),
    ],
)
def test_permanent_error_of_the_store_is_not_retried(bucket, proxy, status, code, remedy):
    experiment = Experiment(bucket, verbose=False)
    proxy.answer_with(status, answer(code))
    begin = time.monotonic()

    def write():
        experiment.write_metadata("config", 1)

    for action in (
        write,
        lambda: experiment.save_checkpoint({"x": 1}, 1),
        lambda: experiment.save_checkpoint({"x": np.zeros(5 << 20)}, 1),
        lambda: experiment.read_metadata("config"),
        lambda: experiment.restore_checkpoint(None),
        lambda: find_experiments(bucket),
        experiment.clear,
    ):
        with pytest.raises(OSError, match=re.escape(bucket)) as raised:
            action()
        text = f"{raised.value}{raised.value!r}{raised.value.__cause__}"
        # A response to `HEAD` has no text, so only its status is known.
        is_bare = any(words in text for words in ("HEAD", "access is denied", "have expired"))
        assert remedy in text or (is_bare and action is not write), text
        assert TOKEN not in text
        assert "AKIAIOSF" not in text
        assert "testing-secret" not in text
    assert time.monotonic() - begin < 30
    proxy.answer_with(None)
    experiment.close()


def test_missing_bucket_is_named(absent):
    experiment = Experiment(f"{absent}/a", verbose=False)
    for action in (
        lambda: experiment.write_metadata("config", 1),
        lambda: experiment.save_checkpoint({"x": 1}, 1),
    ):
        with pytest.raises(OSError, match=f"there is no such bucket; .*: '{absent}/a"):
            action()


@pytest.mark.slow
@pytest.mark.s3
def test_missing_credentials_are_reported_quickly(bucket, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    # Nothing answers there, as on a machine outside any cloud.
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    begin = time.monotonic()
    with pytest.raises(OSError, match="no credentials were found; set them in the environment"):
        Experiment(f"s3://{uuid.uuid4().hex}/a", verbose=False).write_metadata("config", 1)
    assert time.monotonic() - begin < 60


AZURE = {"AZURE_STORAGE_ACCOUNT_NAME": "account", "AZURE_STORAGE_ACCOUNT_KEY": "c2VjcmV0"}


@pytest.mark.parametrize(
    ("scheme", "variables", "remedy"),
    [
        ("s3", {"AWS_ACCESS_KEY_ID": "half"}, "the credentials are not complete"),
        ("gs", {"GOOGLE_APPLICATION_CREDENTIALS": "/absent"}, "the credentials are not complete"),
        ("az", {}, "no account is named; set AZURE_STORAGE_ACCOUNT_NAME"),
        ("s3", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "set AWS_ALLOW_HTTP=true"),
        *(
            (
                "s3",
                {"AWS_ENDPOINT_URL": url},
                f"AWS_ENDPOINT_URL: expected a URL such as .*, found '{url}'",
            )
            for url in [
                "not a url",
                "",
                "http://",
                "localhost:9000",
                "http://127.0.0.1:99999",
                "ftp://x",
            ]
        ),
        (
            "s3",
            {"AWS_ENDPOINT_URL": f"http://u:{SECRET}@h/a b"},
            "AWS_ENDPOINT_URL: .*'http://h/a b'",
        ),
        (
            "s3",
            {"AWS_ENDPOINT_URL": "http://localhost:69999"},
            "stores failed: .*InvalidPort; check",
        ),
        *(
            (scheme, {variable: "not a url"}, f"{variable}: expected a URL such as")
            for scheme, variable in [
                ("s3", "AWS_ENDPOINT_URL_S3"),
                ("gs", "GOOGLE_BASE_URL"),
                ("az", "AZURE_STORAGE_ENDPOINT"),
                ("az", "AZURE_ENDPOINT"),
            ]
        ),
        ("az", {**AZURE, "AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:9"}, "set .*AZURE_ALLOW_HTTP"),
        ("s3", {"AWS_REGION": "not a region"}, "AWS_REGION: expected a region such as us-east-1"),
        ("s3", {"AWS_REGION": ""}, "AWS_REGION: expected a region such as us-east-1, found ''"),
        *(
            (scheme, {name: url}, f"{name}: expected a URL such as http://example.com:3128, found")
            for scheme, name in [
                ("s3", "AWS_PROXY_URL"),
                ("gs", "GOOGLE_PROXY_URL"),
                ("az", "AZURE_PROXY_URL"),
            ]
            for url in ["not a url", f"u:{SECRET}@h x"]
        ),
        ("s3", {"AWS_ALLOW_HTTP": "perhaps"}, "failed to parse .perhaps. as boolean"),
    ],
)
def test_missing_and_malformed_environment_variables_are_reported_at_once(
    monkeypatch, capsys, scheme, variables, remedy
):
    for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    if scheme == "s3" and "AWS_ACCESS_KEY_ID" not in variables:
        variables = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": SECRET, **variables}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    address = f"{scheme}://b-{uuid.uuid4().hex}/a"
    with pytest.raises(OSError, match=f"{remedy}.*: '{address}/config.yaml'"):
        Experiment(address, verbose=False).write_metadata("config", 1)
    assert main(["list", address]) == 1
    error = capsys.readouterr().err
    assert re.fullmatch(f"fifteen: error: {address}: .*{remedy}.*\n", error)
    assert SECRET not in error


@pytest.mark.parametrize(
    ("variables", "is_signed"),
    [({}, False), ({"AWS_UNSIGNED_PAYLOAD": "false"}, True), ({"AWS_ALLOW_HTTP": "true"}, True)],
)
def test_content_is_signed_only_if_tls_does_not_protect_it(monkeypatch, variables, is_signed):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    path = Experiment(f"s3://b-{uuid.uuid4().hex}/a", verbose=False).data_dir
    store, _ = _store.locate(path)
    assert (store.config.get("unsigned_payload", "false") != "true") == is_signed


ADDRESSES = [
    f"s3://AKIAIOSFODNN7EXAMPLE:{SECRET}@bucket/run",
    f"s3://bucket/run?X-Amz-Signature={SECRET}",
    f"gs://user:{SECRET}@bucket/run",
    f"az://container/run?sv=1&sig={SECRET}",
    f"http://user:{SECRET}@host/run",
    f"https://bucket.s3.amazonaws.com/run?X-Amz-Security-Token={SECRET}&X-Amz-Date=1",
]


@pytest.mark.slow
@pytest.mark.parametrize("address", ADDRESSES)
def test_address_with_a_secret_is_refused_without_showing_it(address, tmp_path, capsys):
    source = Experiment(tmp_path / "a", verbose=False)
    source.write_metadata("config", 1)
    for action in (
        lambda: Experiment(address),
        lambda: find_experiments(address),
        lambda: source.move(address),
    ):
        with pytest.raises(UnsafePathError) as raised:
            action()
        assert SECRET not in f"{raised.value!r}{raised.value}"
    for arguments in (
        ["list", address],
        ["show", address],
        ["compare", address, str(tmp_path)],
        ["scalars", address],
        ["move", str(tmp_path / "a"), address],
        ["verify", address],
        ["doctor", address],
        ["archive", address],
        ["note", address, "x"],
        ["rm", address],
        ["prune", address, "--keep", "1"],
    ):
        with contextlib.suppress(SystemExit):
            main(arguments)
        shown = capsys.readouterr()
        assert shown.err or shown.out
        assert SECRET not in shown.err + shown.out, arguments


@pytest.mark.slow
def test_no_secret_is_written_anywhere(bucket, monkeypatch, tmp_path):
    script = """
import sys, warnings
from fifteen.experiments import Experiment, TensorboardLogData
experiment = Experiment(sys.argv[1])
experiment.write_provenance()
experiment.log(TensorboardLogData(scalars={"loss": 0.5}), 1)
experiment.save_checkpoint({"x": 1}, 1)
experiment.annotate(note="a note")
print(experiment, repr(experiment.data_dir), experiment.close())
"""
    environment = {**os.environ, "AWS_SESSION_TOKEN": TOKEN}
    result = subprocess.run(
        [sys.executable, "-c", script, bucket, *ADDRESSES],
        capture_output=True, text=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    directory = Directory(Experiment(bucket, verbose=False).data_dir)
    written = {name: directory.read(name) for name in directory.names()}
    assert {"provenance.yaml", "notes.yaml", "checkpoint_1.safetensors"} < written.keys()
    everything = b"".join(written.values()) + (result.stdout + result.stderr).encode()
    assert pickle.dumps(Experiment(bucket)) not in everything
    for secret in (SECRET, TOKEN, "testing-secret"):
        assert secret.encode() not in everything
        assert secret.encode() not in pickle.dumps(Experiment(bucket))


def test_signed_addresses_in_a_command_are_redacted():
    redacted = redact_command(["train.py", *ADDRESSES, f"--data={ADDRESSES[3]}"])
    assert SECRET not in " ".join(redacted)
    assert redacted[2] == "s3://bucket/run?X-Amz-Signature=***"


def test_warnings_about_unsent_logs_contain_no_secret(bucket, proxy, monkeypatch):
    from fifteen.experiments.storage._remote import _appended

    monkeypatch.setattr(_appended, "_SECONDS_BETWEEN_PUTS", 0.05)
    experiment = Experiment(bucket, verbose=True)
    proxy.answer_with(400, answer("InvalidToken"))
    deadline = time.monotonic() + 60
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        while not caught and time.monotonic() < deadline:
            experiment.log(TensorboardLogData(scalars={"loss": 0.5}), 1)
            time.sleep(0.05)
    assert "the credentials are not valid" in str(caught[0].message)
    assert TOKEN not in str(caught[0].message)
    proxy.answer_with(None)
    experiment.close()
    assert experiment.read_scalars()["loss"].step.tolist() == [1]


class Stop(Exception):
    """Raised by a signal handler."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "read"),
    [
        ("list", find_experiments),
        ("config.yaml", lambda bucket: Experiment(bucket, verbose=False).read_metadata("config")),
        ("config.yaml", lambda bucket: find_experiments(bucket).values("config")),
        ("tensors", lambda bucket: Experiment(bucket, verbose=False).restore_checkpoint(None)),
    ],
)
def test_signal_interrupts_a_read_that_gets_no_answer(bucket, proxy, part, read):
    def stop(*_):
        raise Stop

    with Experiment(bucket, verbose=False) as experiment:
        experiment.write_metadata("config", 1)
        experiment.save_checkpoint({"x": np.zeros(3 << 20)}, 1)
    proxy.hold(part)
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    begin = time.monotonic()
    try:
        with pytest.raises(Stop):
            read(bucket)
        assert time.monotonic() - begin < 10
    finally:
        signal.signal(signal.SIGALRM, before)
        proxy.release()


@pytest.fixture
def client(bucket):
    with contextlib.closing(boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])) as s3:
        yield s3


@pytest.mark.s3
def test_failed_upload_is_aborted(bucket, client, proxy):
    experiment = Experiment(bucket, verbose=False)
    proxy.answer_with(403, answer("AccessDenied"), part="partNumber=2")
    with pytest.raises(OSError, match="access is denied"):
        experiment.save_checkpoint({"x": np.zeros(6 << 20)}, 1)
    proxy.answer_with(None)
    assert not client.list_multipart_uploads(Bucket=bucket.split("/")[2]).get("Uploads")
    assert experiment.checkpoint_steps() == []
    experiment.close()


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.s3
def test_kill_within_an_upload_leaves_the_old_checkpoint(bucket, client, proxy, step):
    state = {"x": np.zeros(3 << 20)}
    with Experiment(bucket, verbose=False) as experiment:
        experiment.save_checkpoint(state, 1)
    proxy.requests.clear()
    # The third part is tried again until the process is killed.
    proxy.answer_with(503, part="partNumber=3")
    script = """
import sys, numpy as np
from fifteen.experiments import Experiment
state = {"x": np.ones(3 << 20)}
Experiment(sys.argv[1]).save_checkpoint(state, int(sys.argv[2]), overwrite=True)
"""
    child = subprocess.Popen([sys.executable, "-c", script, bucket, str(step)])
    deadline = time.monotonic() + 120
    while len(proxy.sent("PUT", "partNumber=")) < 2:
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    proxy.answer_with(None)
    (left,) = client.list_multipart_uploads(Bucket=bucket.split("/")[2])["Uploads"]
    assert left["Key"].endswith(f"checkpoint_{step}.safetensors")
    with Experiment(bucket, verbose=False) as experiment:
        assert experiment.checkpoint_steps() == [1]
        names = Directory(experiment.data_dir).names()
        assert [name for name in names if name.startswith("checkpoint")] == [
            "checkpoint_1.safetensors"
        ]
        assert (experiment.restore_checkpoint(state)["x"] == 0).all()
        experiment.save_checkpoint({"x": np.full(3 << 20, 2.0)}, 2, overwrite=True)
        assert experiment.checkpoint_steps() == [2]
        assert (experiment.restore_checkpoint(state)["x"] == 2).all()


@pytest.mark.s3
def test_folder_object_of_a_cloud_console_is_ignored(bucket, client):
    _, _, name, key = bucket.split("/", 3)
    for folder in (
        "runs/",
        f"{key}/",
        f"{key}/sub/deep/",
        "runs/b/",
        "runs/b/sub/",
        "runs/b/sub/x/",
    ):
        client.put_object(Bucket=name, Key=folder)
    experiment = Experiment(bucket, verbose=False).assert_new()
    experiment.write_metadata("config", 1)
    found = find_experiments(f"s3://{name}/runs")
    assert [one.data_dir.name for one in found] == [experiment.data_dir.name]
    experiment.write_metadata("sub/config", 1)
    client.put_object(Bucket=name, Key=f"{key}/sub/")
    client.put_object(Bucket=name, Key=f"{key}/empty")
    assert [path.name for path in experiment.data_dir.iterdir()] == ["config.yaml", "empty", "sub"]
    assert Directory(experiment.data_dir).files() == ["config.yaml", "empty", "sub/config.yaml"]
    moved = experiment.move(f"s3://{name}/runs/b")
    assert moved.read_metadata("config") == 1
    assert Directory(moved.data_dir).files() == ["config.yaml", "empty", "sub/config.yaml"]
    moved.clear().assert_new()
    experiment.assert_new()


BAD = ["//x", "/../x", "/./x", "/eval//x", "/eval/../x", "/eval/deep//x"]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.s3
def test_names_that_no_path_can_have_hide_no_others(bucket, client, bad, tmp_path):
    _, _, name, key = bucket.split("/", 3)
    for number in range(3):
        with Experiment(f"{bucket}/{number}", verbose=False) as experiment:
            experiment.write_metadata("config", number)
            experiment.write_metadata("eval/config", number)
            experiment.save_checkpoint({"x": number}, 1)
    client.put_object(Bucket=name, Key=f"{key}/1{bad}")
    found = find_experiments(bucket)
    assert [one.data_dir.name for one in found] == ["0", "1", "2"]
    assert found.values("config") == [0, 1, 2]
    bad_one = found[1]
    assert "config.yaml" in [path.name for path in bad_one.data_dir.iterdir()]
    assert bad_one.metadata_names() == ["config", "eval/config"]
    assert bad_one.checkpoint_steps() == [1]
    assert bad_one.assert_exists().move(tmp_path / "moved").read_metadata("eval/config") == 1
    assert find_experiments(bucket).values("config") == [0, 2]
    objects = client.list_objects_v2(Bucket=name)["Contents"]
    assert [one["Key"] for one in objects if one["Key"].startswith(f"{key}/1")] == [f"{key}/1{bad}"]


@pytest.mark.parametrize("kind", ["memory", "server"])
def test_clear_and_move_touch_only_their_own_prefix(request, kind):
    root = f"memory://{uuid.uuid4().hex}/runs" if kind == "memory" else (
        request.getfixturevalue("bucket"))  # fmt: skip
    beside = ["ab", "a.yaml", "a-1", "A", "a b", "b/a", "aa/a", "a%2Fx", "ä"]
    directory = Directory(Experiment(root, verbose=False).data_dir)
    for name in [*(f"{name}/config.yaml" for name in beside), "a"]:
        with directory.replace(name) as file:
            file.write(b"1\n...\n")
    before = sorted(obstore_names(root))
    experiment = Experiment(f"{root}/a", verbose=False)
    experiment.write_metadata("config", 1)
    experiment.write_metadata("deep/er/x", 1)
    directory.remove("a/deep")
    assert sorted(obstore_names(root)) == sorted([*before, "a/config.yaml"])
    directory_of_it = Directory(experiment.data_dir)
    assert directory_of_it.delete()
    assert sorted(obstore_names(root)) == before


def obstore_names(root):
    return _store.objects(Experiment(root, verbose=False).data_dir)
