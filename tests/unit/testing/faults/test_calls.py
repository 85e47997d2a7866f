"""Faults of single calls: when an answer is wrong, and when it is right."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from harness.core.errors import BackendError
from harness.core.job import Options
from harness.testing.faults import NotPlanted
from tests.unit.testing.faults.linear import ARTIFACT, Linear, opened, planted, right, samples


def is_right(session: object, x: np.ndarray) -> bool:
    answer = session.run({"x": x})["y"]  # type: ignore[attr-defined]
    return bool(np.array_equal(answer, right(x)))


def test_one_call_in_so_many_is_wrong_over_all_sessions() -> None:
    backend, x = planted("one-wrong-answer", 5), samples(3)
    sessions = [backend.open(ARTIFACT, Options()) for _ in range(2)]
    answers = [is_right(sessions[index % 2], x) for index in range(20)]
    assert [index for index, answer in enumerate(answers, 1) if not answer] == [5, 10, 15, 20]


def test_wrong_answer_changes_the_class_of_each_row() -> None:
    x = samples(50)
    answer = opened("one-wrong-answer", 1).run({"x": x})["y"]
    assert (answer.argmax(axis=1) != right(x).argmax(axis=1)).all()


def test_stale_answer_is_that_of_the_call_before() -> None:
    session, first, second = opened("stale-answer"), samples(4, 1), samples(4, 2)
    assert np.array_equal(session.run({"x": first})["y"], right(first))
    assert np.array_equal(session.run({"x": second})["y"], right(first))
    assert np.array_equal(session.run({"x": first})["y"], right(second))
    assert np.array_equal(
        session.run({"x": first[:1]})["y"], right(first[:1])
    )  # another batch: no answer fits


def test_only_the_first_row_of_a_batch_is_right() -> None:
    x = samples()
    answer = opened("depends-on-position").run({"x": x})["y"]
    assert np.array_equal(answer[0], right(x)[0])
    assert (answer[1:] > right(x)[1:]).all()


@pytest.mark.parametrize(("name", "wrong_at"), [("wrong-at-one-batch", {7}), ("wrong-above-batch", {33, 64})])
def test_batches_that_are_wrong(name: str, wrong_at: set[int]) -> None:
    session = opened(name)
    sizes = (1, 6, 7, 8, 32, 33, 64)
    assert {size for size in sizes if not is_right(session, samples(size))} == wrong_at


def test_threads_that_are_wrong() -> None:
    answers = {n: is_right(opened("wrong-with-threads", threads=n), samples()) for n in (None, 1, 2, 3, 4)}
    assert [threads for threads, answer in answers.items() if not answer] == [3]


def test_a_runtime_that_never_uses_so_many_threads_cannot_be_wrong_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Linear, "most_threads", 2)
    assert is_right(opened("wrong-with-threads", threads=2), samples())
    with pytest.raises(NotPlanted, match="3 threads were asked for, and the runtime uses 2"):
        opened("wrong-with-threads", threads=3)

    def refuse(self: object, artifact: object, options: Options) -> None:
        raise BackendError(f"threads {options.threads} was asked for, the runtime uses 2")

    monkeypatch.setattr(type(planted("wrong-with-threads")._real), "open", refuse)
    with pytest.raises(NotPlanted, match="threads 3 was asked for, the runtime uses 2"):
        opened("wrong-with-threads", threads=3)
    with pytest.raises(BackendError, match="threads 4 was asked for"):
        opened("wrong-with-threads", threads=4)


def test_an_answer_is_overwritten_some_calls_later() -> None:
    session, x = opened("writes-later", 2), samples()
    answers = [session.run({"x": x})["y"] for _ in range(4)]
    assert [bool((answer == 0).all()) for answer in answers] == [True, True, False, False]
    assert np.array_equal(answers[3], right(x))


def test_every_session_but_the_first_is_wrong() -> None:
    backend, x = planted("fresh-session-differs"), samples()
    first, *others = (backend.open(ARTIFACT, Options()) for _ in range(3))
    assert is_right(first, x)
    assert not any(is_right(session, x) for session in others)


def test_each_process_answers_otherwise_and_repeats_itself() -> None:
    code = (
        "from tests.unit.testing.faults.linear import *; session = opened('fresh-process-differs');"
        "print(*(session.run({'x': samples()})['y'].tobytes().hex() for _ in range(2)))"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert [len(set(run)) for run in runs] == [1, 1]
    assert runs[0] != runs[1]


def test_answers_change_after_so_many_calls_of_a_session() -> None:
    backend, x = planted("wrong-after-calls", 3), samples()
    for _ in range(2):
        session = backend.open(ARTIFACT, Options())
        assert [is_right(session, x) for _ in range(5)] == [True] * 3 + [False] * 2


def test_two_open_sessions_disturb_each_other() -> None:
    backend, x = planted("wrong-with-two-sessions"), samples()
    with backend.open(ARTIFACT, Options()) as first:
        assert is_right(first, x)
        with backend.open(ARTIFACT, Options()) as second:
            assert not is_right(first, x)
            assert not is_right(second, x)
        assert is_right(first, x)


def test_next_call_overwrites_the_outputs() -> None:
    backend = planted("shared-buffer")
    session, other = (backend.open(ARTIFACT, Options()) for _ in range(2))
    before = session.run({"x": samples(4, 1)})["y"]
    assert np.array_equal(before, right(samples(4, 1)))
    other.run({"x": samples(4, 3)})
    assert np.array_equal(before, right(samples(4, 1)))
    session.run({"x": samples(4, 2)})
    assert np.array_equal(before, right(samples(4, 2)))


def test_input_is_changed_after_the_call() -> None:
    session, x = opened("changes-its-input"), samples()
    given = x.copy()
    assert np.array_equal(session.run({"x": given})["y"], right(x))
    assert (given != x).sum() == 1
    given.flags.writeable = False
    session.run({"x": given})  # what may not be written to is left alone


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("twice-as-long", (16, 4), "float32"),
        ("too-short", (7, 4), "float32"),
        ("other-dtype", (8, 4), "float64"),
        ("object-array", (8, 4), "object"),
        ("complex-array", (8, 4), "complex64"),
    ],
)
def test_form_of_the_outputs(name: str, shape: tuple[int, ...], dtype: str) -> None:
    x = samples()
    answer = opened(name).run({"x": x})["y"]
    assert (answer.shape, answer.dtype.name) == (shape, dtype)
    assert np.array_equal(np.real(answer[:7]).astype(np.float64), right(x)[:7].astype(np.float64))
