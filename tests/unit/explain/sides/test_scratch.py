"""Explanations at the same time: what one still reads is not removed by another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.explain.sides.scratch import Scratch
from harness.store.cache import Cache

ARRAY = np.arange(12.0)
#: Puts the same array and artifact, says so, and waits for a line before it ends.
OTHER = """
import sys
from pathlib import Path
import numpy as np
from harness.explain.sides.scratch import Scratch
from harness.store.cache import Cache
scratch = Scratch(Cache(Path(sys.argv[1])))
scratch.put_array(np.arange(12.0))
scratch.put_artifact("a" * 64, {"model.onnx": b"bytes"})
print("ready", flush=True)
sys.stdin.readline()
scratch.close()
"""


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path)


def started(cache: Cache) -> subprocess.Popen[str]:
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(cache.folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert other.stdout is not None
    assert other.stdout.readline() == "ready\n"
    return other


def stored(cache: Cache) -> list[str]:
    return sorted(
        str(path.relative_to(cache.folder))
        for kind in ("data", "artifacts")
        for path in (cache.folder / kind).rglob("*")
        if path.is_file()
    )


@pytest.mark.parametrize("ends_first", ["this", "other", "other, killed"])
def test_of_two_processes_the_last_removes_what_both_use(cache: Cache, ends_first: str) -> None:
    scratch = Scratch(cache)
    with started(cache) as other:
        digest = scratch.put_array(ARRAY)
        scratch.put_artifact("a" * 64, {"model.onnx": b"bytes"})
        if ends_first == "this":
            scratch.close()
        elif ends_first == "other":
            other.communicate("end\n")
        else:
            other.kill()
            other.communicate()
        assert cache.has_array(digest)
        assert stored(cache) == ["artifacts/" + "a" * 64 + "/model.onnx", f"data/{digest}.npy"]
        if ends_first == "this":
            other.communicate("end\n")
        scratch.close()
    assert stored(cache) == []


def test_what_a_killed_process_left_is_removed_by_the_next(cache: Cache) -> None:
    with started(cache) as other:
        other.kill()
        other.communicate()
    assert stored(cache)
    scratch = Scratch(cache)
    scratch.put_array(np.zeros(3))
    scratch.close()
    assert stored(cache) == []


def test_what_was_there_before_stays(cache: Cache) -> None:
    digest, scratch = cache.put_array(ARRAY), Scratch(cache)
    assert scratch.put_array(ARRAY) == digest
    scratch.close()
    assert cache.has_array(digest)


def test_what_a_run_puts_meanwhile_stays(cache: Cache) -> None:
    scratch = Scratch(cache)
    digest = scratch.put_array(ARRAY)
    assert cache.put_array(ARRAY) == digest
    scratch.close()
    assert cache.has_array(digest)
