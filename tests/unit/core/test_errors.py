"""Errors on their way between processes."""

from __future__ import annotations

import pickle

import pytest

from harness.core import errors
from harness.core.errors import ConfigurationError, HarnessError, Problem

PLAIN = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HarnessError)
         and kind is not ConfigurationError]  # fmt: skip


@pytest.mark.parametrize("kind", PLAIN)
def test_nothing_that_an_error_says_is_lost(kind: type[HarnessError]) -> None:
    error = kind("what", where="where", cause="cause", next_step="next")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - ours
    assert type(again) is kind
    assert (str(again), again.args) == (str(error), error.args)


def test_nor_the_problems_of_a_configuration() -> None:
    error = ConfigurationError("here", (Problem("gate[0]", "is wrong", "p99"),), next_step="fix it")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - ours
    assert (str(again), again.problems) == (str(error), error.problems)
