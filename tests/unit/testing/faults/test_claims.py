"""Faults of what is reported."""

from __future__ import annotations

import numpy as np
import pytest

from harness.core.job import Options
from harness.core.target import CUDA
from harness.testing.faults.numeric import to_bfloat16
from tests.unit.testing.faults.linear import ARTIFACT, LinearBackend, opened, planted, right, samples

ONLY_REPORTED = ("claims-cuda", "claims-other-provider", "claims-version", "reports-no-precision")


@pytest.mark.parametrize("name", ONLY_REPORTED)
def test_answers_are_right(name: str) -> None:
    assert np.array_equal(opened(name).run({"x": samples()})["y"], right(samples()))


def test_provider_is_reported_by_session_and_backend() -> None:
    assert opened("claims-cuda").effective["provider"] == CUDA
    assert CUDA in planted("claims-cuda").probe().devices
    assert opened("claims-other-provider").effective["provider"] not in (CUDA, "numpy")


@pytest.mark.parametrize(("asked", "used", "reported"), [(1, 2, "1"), (4, 1, "4"), (None, 1, "default")])
def test_threads_in_use_are_not_those_reported(asked: int | None, used: int, reported: str) -> None:
    real = LinearBackend()
    session = planted("claims-threads", backend=real).open(ARTIFACT, Options(threads=asked))
    assert real.sessions[0].options.threads == used
    assert session.effective["threads"] == reported


def test_precision_is_not_reported() -> None:
    assert set(opened("reports-no-precision").effective) == {"provider", "threads"}


def test_precision_is_reported_as_float32_and_is_not() -> None:
    session, x = opened("claims-precision"), samples()
    assert session.effective["precision"] == "f32"
    answer = session.run({"x": x})["y"]
    np.testing.assert_array_equal(answer, to_bfloat16(right(to_bfloat16(x))))
    assert not np.array_equal(answer, right(x))


def test_version_is_another() -> None:
    assert planted("claims-version").probe().version == "99.0.0"
    assert planted("healthy").probe().version == "1.0"
