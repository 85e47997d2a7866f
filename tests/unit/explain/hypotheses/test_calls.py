"""Causes in how a session is called: its state, chance, memory, threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from harness.core.contracts import Session
from harness.core.job import Options
from harness.core.preprocess import Feeds, Outputs
from harness.device import trace
from harness.explain.hypotheses import HYPOTHESES
from harness.explain.search import procedure
from tests.unit.explain import scenes
from tests.unit.explain.scenes import Files
from tests.unit.explain.strange import Answer, answering


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return scenes.make(tmp_path_factory.mktemp("files"))


def moved(outputs: Outputs, by: float = 1.0) -> Outputs:
    return {name: y + np.float32(by) for name, y in outputs.items()}


def with_state(options: Options) -> Answer:
    """Adds a part of what it was fed before, in this session."""
    before = [0.0]

    def answer(session: Session, feeds: Feeds) -> Outputs:
        outputs = moved(session.run(feeds), before[0])
        before[0] = float(feeds["x"].mean())
        return outputs

    return answer


def with_chance(options: Options) -> Answer:
    def answer(session: Session, feeds: Feeds) -> Outputs:
        return moved(session.run(feeds), float(np.random.default_rng().normal()))

    return answer


def with_one_buffer(options: Options) -> Answer:
    """Returns the same memory from each call."""
    buffers: dict[str, np.ndarray] = {}

    def answer(session: Session, feeds: Feeds) -> Outputs:
        for name, y in session.run(feeds).items():
            buffers.setdefault(name, np.empty_like(y))[...] = y
        return buffers

    return answer


def with_aligned_loads(options: Options) -> Answer:
    """Wrong where an input does not lie at a multiple of 32."""

    def answer(session: Session, feeds: Feeds) -> Outputs:
        return moved(session.run(feeds), float(feeds["x"].ctypes.data % 32 > 0))

    return answer


def without_strides(options: Options) -> Answer:
    """Reads as many numbers as the input has from where it begins."""

    def answer(session: Session, feeds: Feeds) -> Outputs:
        x = feeds["x"]
        strides = np.empty(x.shape, np.int8).strides
        contiguous = as_strided(x, x.shape, [x.itemsize * stride for stride in strides])
        return session.run({"x": np.ascontiguousarray(contiguous)})

    return answer


def with_a_cache(options: Options) -> Answer:
    """Answers as before where the input lies where the one before lay."""
    last: dict[int, Outputs] = {}

    def answer(session: Session, feeds: Feeds) -> Outputs:
        place = feeds["x"].ctypes.data
        if place not in last:
            last.clear()
            last[place] = session.run(feeds)
        return last[place]

    return answer


def with_threads(options: Options) -> Answer:
    """Wrong with three threads and more."""
    return lambda session, feeds: moved(session.run(feeds), float((options.threads or 0) >= 3))


MEMORY: dict[str, tuple[Callable[[Options], Answer], str]] = {
    "views": (with_one_buffer, "returns views of memory that its next call overwrites"),
    "aligned": (with_aligned_loads, "is wrong where an input does not lie at a multiple of 32 bytes"),
    "strides": (without_strides, "reads an input that is not contiguous as if it were"),
    "cache": (with_a_cache, "does not read an input again that lies in the memory of the one before"),
}


@pytest.mark.parametrize("name", MEMORY)
def test_what_depends_on_memory_is_named(files: Files, name: str) -> None:
    plant, words = MEMORY[name]
    side = files.side(files.float32)
    scene = files.scene(side, files.planted(side, answering(plant)))
    (cause,) = procedure.explain(scene, HYPOTHESES, 600.0).confirmed
    assert (cause.hypothesis, cause.cause) == ("buffers", f"planted:onnxruntime {words}")


def test_state_is_told_from_chance(files: Files) -> None:
    side = files.side(files.float32)
    causes = []
    for plant in (with_state, with_chance):
        scene = files.scene(side, files.planted(side, answering(plant)))
        causes += procedure.explain(scene, HYPOTHESES, 600.0).confirmed
    assert [cause.cause for cause in causes] == [
        "planted:onnxruntime depends on the calls before: its state is not reset",
        "planted:onnxruntime is not deterministic",
    ]
    remedy = causes[0].remedy
    assert remedy is not None
    assert remedy.text == "a session of its own for each sample"


def test_the_reference_can_have_the_state(files: Files) -> None:
    side = files.side(files.float32)
    scene = files.scene(files.planted(side, answering(with_state)), side)
    (cause,) = procedure.explain(scene, HYPOTHESES, 600.0).confirmed
    assert (cause.hypothesis, cause.side) == ("calls before", "planted:onnxruntime")


def test_the_number_of_threads_at_which_it_begins_is_named(files: Files) -> None:
    side = files.side(files.float32)
    other = files.side(files.float32, options=replace(side.options, threads=5))
    scene = files.scene(side, files.planted(other, answering(with_threads)))
    (cause,) = procedure.explain(scene, HYPOTHESES, 600.0).confirmed
    assert cause.cause == "planted:onnxruntime is wrong with 5 threads, and from 3 on"
    assert cause.remedy is not None
    assert cause.remedy.line == "[deploy] threads = 2"


@pytest.mark.parametrize("offset_byte", [0, 4, 32])
def test_inputs_lie_where_they_were_asked_for(offset_byte: int) -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    moved_to = trace.at_address(x, offset_byte)
    assert moved_to.ctypes.data % 64 == offset_byte
    assert np.array_equal(moved_to, x)


def test_strided_and_reused_inputs_hold_the_same_numbers() -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    (strided,) = trace.Placed(trace.STRIDED).feeds({"x": x}).values()
    assert not strided.flags.c_contiguous
    assert np.array_equal(strided, x)
    placed = trace.Placed(trace.REUSED)
    (first,), (second,) = (placed.feeds({"x": y}).values() for y in (x, x + 1))
    assert first.ctypes.data == second.ctypes.data
    assert np.array_equal(second, x + 1)
