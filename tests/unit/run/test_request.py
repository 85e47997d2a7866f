"""The texts of a command line are read into a request."""

from __future__ import annotations

import pytest

from harness.core.errors import UsageError
from harness.core.profile import Profile
from harness.run.request import Request, parse_seconds


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("3m", 180), ("1h", 3600), ("1.5m", 90)])
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_seconds(text, "budget") == seconds


@pytest.mark.parametrize("text", ["", "s", "3", "3 x", "0s", "-1s", "nans", "infs", "1e30s", "3mm"])
def test_an_invalid_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"invalid duration .*; use 90s, 3m or 1h"):
        parse_seconds(text, "budget")


def test_an_empty_text_takes_the_default() -> None:
    request = Request.parse()
    assert (request.targets, request.variants, request.budget_s, request.wait_s) == (("cpu",), (), None, 0.0)
    assert (request.model / "validation.toml").is_file()


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("target", ",", "',' names no target"),
        ("variant", "int8,,float32", "'int8,,float32' has an empty name between commas"),
        ("wait", "soon", "invalid duration 'soon'"),
        ("profile", "deep", "(?s)there is no profile .*use quick, standard, soak"),
        ("duration", "5m", "a run with the profile quick has no duration"),
    ],
)
def test_an_invalid_text_is_refused(option: str, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Request.parse(**{option: text})  # type: ignore[arg-type]  # release is not among them


def test_a_soak_has_a_duration() -> None:
    assert (Request.parse().profile, Request.parse().soak_s) == (Profile.QUICK, 0.0)
    assert Request.parse(profile="standard").soak_s == 0.0
    assert Request.parse(profile="soak").soak_s == 1800.0
    assert Request.parse(profile="soak", duration="5m").soak_s == 300.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"duration": "5s"}, "a soak of 5 s shows no trend"),
        ({"duration": "5m", "budget": "3m"}, "a soak of 300 s does not fit into a budget of 180 s"),
        ({"budget": "3m"}, "a soak of 1800 s does not fit into a budget of 180 s"),
    ],
)
def test_a_duration_that_cannot_be_met_is_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Request.parse(profile="soak", **options)  # type: ignore[arg-type]  # release is not among them
