import contextlib
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

SECONDS_TO_START = 30


class TensorBoard:
    """A running TensorBoard, queried over HTTP."""

    def __init__(self, url):
        self.url = url

    def get(self, path, body=None, **query):
        address = f"{self.url}data/plugin/{path}"
        if query:
            address += "?" + urllib.parse.urlencode(query)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(address, data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read())

    def wait_for(self, path, is_there, **query):
        """Query until the answer is as expected; TensorBoard loads in the background."""
        deadline = time.monotonic() + SECONDS_TO_START
        while True:
            answer = None
            with contextlib.suppress(urllib.error.HTTPError):
                answer = self.get(path, **query)
                if is_there(answer):
                    return answer
            if time.monotonic() > deadline:
                raise AssertionError(f"{path} {query}: TensorBoard answers {answer!r:.500}")
            time.sleep(0.1)

    def scalars(self, tag, count, run="."):
        """Return steps and values of a curve once it has that many points."""
        points = self.wait_for(
            "scalars/scalars", lambda points: len(points) == count, run=run, tag=tag
        )
        return [step for _, step, _ in points], [value for _, _, value in points]


@contextlib.contextmanager
def running_tensorboard(directory, fast):
    arguments = ["--logdir", str(directory), "--host", "127.0.0.1", "--port", "0"]
    # All points; by default TensorBoard samples 1,000.
    arguments += ["--samples_per_plugin", "scalars=1000000,images=100"]
    arguments += ["--load_fast", "true" if fast else "false", "--reload_interval", "1"]
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tensorboard.main", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = ""
        for line in process.stderr:
            said += line
            if match := re.search(r"at (http://\S+?/) ", line):
                yield TensorBoard(match[1])
                return
        raise AssertionError(f"TensorBoard did not start: {said}")
    finally:
        process.terminate()
        process.wait()
        process.stderr.close()
