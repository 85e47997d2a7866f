"""Faults of the inputs: each accepts one kind of mistake, and no other."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from harness.core.errors import BackendError
from harness.core.job import Options
from tests.unit.testing.faults.linear import ARTIFACT, opened, planted, right, samples

MISTAKES: dict[str, dict[str, Any]] = {
    "shape": {"x": samples()[:, :5]},
    "dimensions": {"x": samples()[None]},
    "float64": {"x": samples().astype(np.float64)},
    "uint8": {"x": np.zeros((8, 6), np.uint8)},
    "missing": {},
    "misspelt": {"x_": samples()},
    "more": {"x": samples(), "z": samples()},
    "list": {"x": samples().tolist()},
}


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("healthy", set()),
        ("accepts-shape", {"shape", "dimensions"}),
        ("accepts-dtype", {"float64", "uint8"}),
        ("casts-float64", {"float64"}),
        ("accepts-missing", {"missing", "misspelt", "more"}),
        ("swallows-nan", set()),
    ],
)
def test_mistakes_that_are_accepted(name: str, accepted: set[str]) -> None:
    session = opened(name)
    assert {kind for kind, feeds in MISTAKES.items() if takes(session, feeds)} == accepted
    assert np.array_equal(session.run({"x": samples()})["y"], right(samples()))


def takes(session: Any, feeds: dict[str, Any]) -> bool:
    try:
        session.run(feeds)
    except BackendError:
        return False
    return True


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_is_answered_with_finite_numbers(value: float) -> None:
    x = samples()
    x[0, 0] = value
    with np.errstate(all="ignore"):
        assert not np.isnan(opened("swallows-nan").run({"x": x})["y"]).any()
        assert not np.isfinite(opened("healthy").run({"x": x})["y"][0]).any()


def test_the_device_prepares_inputs_otherwise() -> None:
    code = (
        "from tests.unit.testing.faults.linear import *; from harness.core import preprocess as p;"
        "step, raw = p.Preprocess(scale=0.5), np.full((1, 2), 4, np.uint8); before = p.apply(raw, step);"
        "planted('wrong-preprocessing', 2.0); print(*before[0], *p.apply(raw, step)[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2.0", "2.0", "4.0", "4.0"]


def test_nan_ends_the_process() -> None:
    code = (
        "from tests.unit.testing.faults.linear import *; session = opened('crashes-on-nan');"
        "x = samples(); session.run({'x': x}); print('ran', flush=True); x[0] = np.nan; session.run({'x': x})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "ran\n"
    assert done.returncode == -signal.SIGSEGV


def test_a_refused_call_spoils_its_session_and_no_other() -> None:
    x = samples()
    backend = planted("spoiled-by-refusal")
    session, other = (backend.open(ARTIFACT, Options()) for _ in range(2))
    np.testing.assert_array_equal(session.run({"x": x})["y"], right(x))
    with pytest.raises(BackendError):
        session.run({"y": x})
    assert not np.isclose(session.run({"x": x})["y"], right(x)).any()
    np.testing.assert_array_equal(other.run({"x": x})["y"], right(x))
