"""The local executor with workers that break the wire format, or end early."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.job import Status
from harness.device import worker
from harness.executors import worker_session
from tests.unit.executors.batches import MakeBatch, do, results

SPEAKER = """
import os, sys, json
def say(**header):
    sys.stdout.buffer.write(json.dumps({"arrays": [], **header}).encode() + b"\\n"); sys.stdout.buffer.flush()
def key(case):
    return ["cpu", "null", "deploy", "float32", "planted", case, 0]
def start(case):
    say(type="start", key=key(case))
def result(case, **more):
    header = dict(key=key(case), status="OK", reason="", values={}, effective={}, started_utc="",
                  duration_ns=1)
    say(type="result", **{**header, **more})
"""


def speak(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    """Make workers a script that runs `text`; ``sys.argv[1]`` counts them."""
    script = tmp_path / "speaker.py"
    script.write_text(SPEAKER + text)
    started = iter(range(100))
    monkeypatch.setattr(worker, "command", lambda python, *_: [*python, str(script), str(next(started))])


def test_a_worker_that_dies_after_a_result(
    batch: MakeBatch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    speak(monkeypatch, tmp_path, """
sys.stdin.readline()
names = ["a"] if sys.argv[1] == "0" else ["b", "c"]
for name in names:
    start(name); result(name)
print("between", file=sys.stderr)
os._exit(3) if sys.argv[1] == "0" else say(type="environment", phase="after", facts={})
""")  # fmt: skip
    by_name = results(batch(do("a"), do("b"), do("c")), tmp_path)
    assert by_name["a"].status is Status.ERROR
    assert by_name["a"].reason == "after the result of this job: the worker ended with exit status 3\nbetween"
    assert by_name["b"].status is Status.OK
    assert by_name["c"].status is Status.OK


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("print('Loading plugin…', flush=True); sys.stdin.read()", "is not a frame"),
        ("start('a'); say(type='surprise'); sys.stdin.read()", "sent a 'surprise'"),
        ("say(); sys.stdin.read()", "sent a None"),
        ("say(arrays=[['x', '<f4', [2], 8]]); os.write(1, b'123'); os._exit(0)", "inside the array 'x'"),
        ("say(arrays=[['x', '|O', [1], 8]]); os.write(1, bytes(8)); sys.stdin.read()", "cannot be"),
        ("say(arrays=[['x', '<f4', [3], 8]]); os.write(1, bytes(8)); sys.stdin.read()", "cannot be"),
        ("say(arrays=[5]); sys.stdin.read()", "cannot be"),
        ("os._exit(4)", "exit status 4"),  # without reading its request
    ],
)
def test_a_worker_that_breaks_the_wire_format(
    batch: MakeBatch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, says: str
) -> None:
    speak(monkeypatch, tmp_path, text)
    # More than a pipe holds, so that a worker that does not read leaves some of it unwritten.
    long = do("a", padding="x" * 300_000)
    result = results(batch(long), tmp_path)["a"]
    assert result.status is Status.ERROR
    assert says in result.reason


def test_a_worker_that_closes_its_output_and_lives(
    batch: MakeBatch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(worker, "EXIT_GRACE_S", 0.1)
    speak(monkeypatch, tmp_path, "sys.stdin.readline(); os.close(1); sys.stdin.read()")
    assert "was killed by SIGKILL" in results(batch(do("a")), tmp_path)["a"].reason


def test_a_worker_that_never_starts_a_job(
    batch: MakeBatch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(worker_session, "START_DEADLINE_S", 0.1)
    speak(monkeypatch, tmp_path, "sys.stdin.read()")
    by_name = results(batch(do("a"), do("b")), tmp_path)
    assert [result.reason for result in by_name.values()] == ["the worker did not start within 0.1 s"] * 2
