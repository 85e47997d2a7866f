"""Faults of calls that save work or leave something behind: right answers where nothing is reused."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from tests.unit.testing.faults.linear import opened, right, samples

NAMES = ("remembers-answers", "remembers-buffers", "computes-late", "bound-call-does-nothing")


@pytest.mark.parametrize("name", NAMES)
def test_fresh_arrays_are_answered_rightly(name: str) -> None:
    session = opened(name)
    for seed in range(3):
        x = samples(3, seed)
        assert np.array_equal(session.run({"x": x})["y"], right(x))
    assert np.array_equal(session.bind({"x": samples(2)})()["y"], right(samples(2)))


@pytest.mark.parametrize("name", NAMES)
def test_a_buffer_that_was_written_anew(name: str) -> None:
    session, x = opened(name), samples(3, 1)
    first = right(x)
    session.run({"x": x})
    x[...] = samples(3, 2)
    answer = session.run({"x": x})["y"]
    assert np.array_equal(answer, first if name == "remembers-buffers" else right(x))


def test_late_outputs_look_like_others() -> None:
    outputs = opened("computes-late").run({"x": samples(3)})
    assert isinstance(outputs, dict)
    assert list(outputs) == ["y"]
    assert np.array_equal(dict(outputs.items())["y"], right(samples(3)))


def test_one_call_in_so_many_writes_into_its_input() -> None:
    session, changed = opened("changes-its-input-rarely", 4), []
    for call in range(12):
        x = samples(2)
        assert np.array_equal(session.run({"x": x})["y"], right(samples(2)))
        if not np.array_equal(x, samples(2)):
            changed.append(call)
    assert changed == [3, 7, 11]


def test_handles_that_calls_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    opened_files: list[int] = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda *given: opened_files.append(real(*given)) or opened_files[-1])
    session = opened("descriptors-per-call", 2)
    for _ in range(6):
        session.run({"x": samples()})
    assert len(opened_files) == 3
    for descriptor in opened_files:
        os.close(descriptor)


def test_threads_that_calls_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", lambda thread: started.append(thread))  # noqa: PLW0108 - bound to the thread
    session = opened("threads-per-call", 2)
    for _ in range(6):
        session.run({"x": samples()})
    assert len(started) == 3
    assert all(thread.daemon for thread in started)


def test_only_bound_calls_differ() -> None:
    session, x = opened("bound-call-differs"), samples(2)
    bound = session.bind({"x": x})
    assert np.array_equal(session.run({"x": x})["y"], right(x))
    assert (bound()["y"] != right(x)).all()
    assert np.array_equal(session.run({"x": x})["y"], right(x))


def test_only_arrays_with_strides_are_read_wrongly() -> None:
    session, x = opened("ignores-strides"), samples(4)
    assert np.array_equal(session.run({"x": x})["y"], right(x))
    assert np.array_equal(session.run({"x": x[1:3]})["y"], right(x[1:3]))
    every_second = np.repeat(x, 2, axis=-1)
    every_second[..., 1::2] = 7
    assert not np.array_equal(session.run({"x": every_second[..., ::2]})["y"], right(x))
