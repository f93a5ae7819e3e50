"""The server of the live page: its answers and its access control."""

import http.client
import json
import os
import socket
import struct
import threading

import numpy as np
import pytest

from fifteen.experiments import Experiment, TensorboardLogData, find_experiments
from fifteen.view._board import Board
from fifteen.view._report import report
from fifteen.view._server import Server

from .conftest import make_run


@pytest.fixture
def served(sweep):
    server = Server(Board(lambda: find_experiments(sweep), lambda found: found, "runs"))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def ask(server, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def get_json(server, path):
    response, body = ask(server, path)
    assert response.status == 200, body
    return json.loads(body)


def test_server_listens_only_on_this_machine(served):
    assert served.server_address[0] == "127.0.0.1"
    assert served.address == f"http://127.0.0.1:{served.server_port}/"


def test_only_its_own_page_may_read(served):
    own = f"127.0.0.1:{served.server_port}"
    assert ask(served, "/table")[0].status == 200
    assert (
        ask(served, "/table", Origin=f"http://{own}", Sec_Fetch_Site="same-origin")[0].status == 200
    )
    for headers in (
        {"Host": "evil.example"},  # DNS rebinding: another name for this address.
        {"Host": f"evil.example:{served.server_port}"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},  # Another port of this machine.
    ):
        for path in ("/", "/table", "/details?run=a"):
            response, body = ask(served, path, **headers)
            assert (response.status, body) == (403, b"only its own page may read this server\n")
    link = {
        "Sec_Fetch_Site": "cross-site",
        "Sec_Fetch_Mode": "navigate",
        "Sec_Fetch_Dest": "document",
    }
    assert ask(served, "/", **link)[0].status == 200


def test_other_sites_have_no_access(served):
    response, _ = ask(served, "/table")
    assert response.headers["Access-Control-Allow-Origin"] is None
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"] == "frame-ancestors 'none'"


def test_server_is_read_only(served):
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(served, "/table", method)[0].status == 501


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/../../etc/passwd", 404),
        ("/curves?run=a&tag=b", 400),
        ("/curves?points=x", 400),
        ("/curves?points=9&start=1", 400),
        ("/curves?points=9&start=1&end=x", 400),
        ("/where", 400),
        ("/details", 400),
        ("/table?since=x", 400),
    ],
)
def test_unexpected_request_is_refused(served, path, status):
    assert ask(served, path)[0].status == status


def test_unknown_runs_and_tags_have_no_curves(served):
    assert get_json(served, "/details?run=..%2F..") == {}
    answer = get_json(served, "/curves?run=nope&run=lr0.1_0&tag=nope&points=10")
    assert answer == {"nope": {}, "lr0.1_0": {}}


def test_content_security_policy_allows_no_other_script(served):
    text = ask(served, "/")[1].decode()
    (policy,) = [line for line in text.splitlines() if "Content-Security-Policy" in line]
    assert "default-src &#x27;none&#x27;" in policy
    assert "unsafe-eval" not in policy
    assert policy.count("sha256-") == 3
    assert "https:" not in policy


def test_only_changes_are_sent_again(served, sweep):
    table = get_json(served, "/table?since=0")
    assert len(table["rows"]) == 6
    assert table["groups"]["config.seed"] == [0, 0, 0, 1, 1, 1]
    version = table["version"]
    assert get_json(served, f"/table?since={version}") == {"version": version}
    with Experiment(sweep / "lr0.1_0", verbose=False) as experiment:
        experiment.log(TensorboardLogData({"train/loss": 0.125}), step=77)
    served.board._next_look = 0
    table = get_json(served, f"/table?since={version}")
    (row,) = table["rows"].values()
    names = [column["name"] for column in table["columns"]]
    assert row[names.index("name")] == "lr0.1_0"
    assert row[names.index("train/loss:last")] == 0.125


def test_table_matches_the_experiments(served, sweep):
    make_run(sweep / "long", {"lr": 0.5, "seed": 1, "steps": 40_000}, steps=30_000)
    table = get_json(served, "/table")
    names = [column["name"] for column in table["columns"]]
    for name in ("status", "step", "elapsed", "progress", "diverged_at", "train/loss:last"):
        found = find_experiments(sweep).values(name)
        values = [{"nan": "nan", "": None}.get(str(value), value) for value in found]
        assert [row[names.index(name)] for row in table["rows"].values()] == values, name


def test_new_column_sends_all_rows(served, sweep):
    version = get_json(served, "/table?since=0")["version"]
    make_run(sweep / "new", {"lr": 0.5, "seed": 1, "extra": True})
    served.board._next_look = 0
    table = get_json(served, f"/table?since={version}")
    assert len(table["rows"]) == 7
    assert {len(row) for row in table["rows"].values()} == {len(table["columns"])}


def test_deleted_run_disappears_from_the_table(served, sweep):
    version = get_json(served, "/table?since=0")["version"]
    Experiment(sweep / "lr0.1_1", verbose=False).clear()
    served.board._next_look = 0
    assert "lr0.1_1" not in get_json(served, f"/table?since={version}")["order"]


def test_scalars_of_most_runs_are_shown_first(served, sweep):
    for number in range(5):
        scalars = {f"a{index}": 1.0 for index in range(5)} if number == 0 else {"z": 1.0}
        with Experiment(sweep / f"more_{number}", verbose=False) as experiment:
            experiment.log(TensorboardLogData(scalars=scalars), step=0)
    assert "z" in get_json(served, "/table?since=0")["informative"]


def test_long_curves_are_downsampled_with_their_extremes(served, sweep):
    values = np.zeros(20_000)
    values[12_345] = 7
    with Experiment(sweep / "long", verbose=False) as experiment:
        experiment.log(TensorboardLogData({"train/loss": values}), step=np.arange(20_000))
    served.board._next_look = 0
    get_json(served, "/table")
    curve = get_json(served, "/curves?run=long&tag=train/loss&points=100")["long"]["train/loss"]
    from base64 import b64decode

    step, value = (
        np.frombuffer(b64decode(curve["x"]["step"])),
        np.frombuffer(b64decode(curve["y"][0]), "f4"),
    )
    assert len(step) == len(value) <= 102
    assert step[value.argmax()] == 12_345


def test_damage_is_shown_as_a_problem(served, sweep):
    (events,) = (sweep / "lr0.1_0").glob("*tfevents*")
    content = bytearray(events.read_bytes())
    content[1000] ^= 255
    events.write_bytes(content)
    (sweep / "lr0.1_1" / "config.yaml").write_text("lr: [")
    problems = get_json(served, "/table")["problems"]
    assert [len(lines) for lines in problems.values()] == [1, 1]
    assert "damaged; skipped bytes" in problems["lr0.1_0"][0]
    assert "config.yaml" in problems["lr0.1_1"][0]
    curve = get_json(served, "/curves?run=lr0.1_0&tag=train/loss&points=100")["lr0.1_0"]
    assert curve["train/loss"]["diverged"] is None


def test_names_that_are_not_text(served, sweep):
    folder = os.fsencode(sweep) + b"/\xff"
    os.rename(sweep / "lr0.1_0", folder)
    with open(folder + b"/\xfe.yaml", "w") as file:
        file.write("a: [")
    assert r"\udcff" in get_json(served, "/table")["rows"]
    assert get_json(served, r"/details?run=\udcff")["path"].endswith("/\udcff")
    assert r"<title>\udcff</title>" in report(find_experiments(sweep), "\udcff")


def test_closed_connection_is_not_an_error(served, sweep, capfd):
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", served.server_port)) as client:
            linger = struct.pack("ii", 1, 0)  # Closing it resets the connection.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            client.sendall(
                f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{served.server_port}\r\n\r\n".encode()
            )
    assert get_json(served, "/table?since=0")["order"]
    assert capfd.readouterr().err == ""


def test_thousands_of_scalars(served, sweep):
    with Experiment(sweep / "wide", verbose=False) as experiment:
        experiment.log(TensorboardLogData({f"layer/{n}": float(n) for n in range(3000)}), step=1)
    assert len(get_json(served, "/table")["tags"]) == 3003
