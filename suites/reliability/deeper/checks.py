"""What the profile ``standard`` demands besides of every honest deployment."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from harness.core.check import Check
from harness.core.profile import Profile
from harness.core.suite import CaseContext
from harness.core.verdict import Gate
from suites.reliability.deeper.cases import PRESSURE, SURROUNDINGS

_gate = partial(Gate, suite="reliability")


def _is_standard(context: CaseContext) -> bool:
    return context.profile is Profile.STANDARD


def _is_standard_hardware(context: CaseContext) -> bool:
    return _is_standard(context) and not context.emulated


_EVERYWHERE = (
    Check(
        _gate("same-answer-sessions-at-once", metric="sessions_at_once_max_over_rounding", maximum=1.0),
        why="Sessions in several threads share nothing: each answers as it does alone, up to what rounding "
        "explains (docs/checks.md).",
        failure="the answers differ while several sessions run at once: they share memory",
        faults=("race-on-a-buffer",),
    ),
    Check(
        _gate("same-answer-threads-at-once", metric="threads_at_once_max_over_rounding", maximum=1.0),
        why="A session that is for several threads answers each as it answers one alone.",
        failure="the answers differ while several threads use one session: a race",
        faults=("race-on-a-buffer",),
    ),
    Check(
        _gate("same-answer-unusual-values", metric="unusual_values_repeat", minimum=1.0),
        why="Denormals, minus zero and the largest numbers are numbers: the same ones get the same bytes, "
        "in a fresh session, too.",
        failure="the answers to unusual values differ from call to call",
        faults=("denormals-answered-by-chance",),
    ),
    Check(
        _gate("recovers-from-unusual-values", metric="recovered_after_unusual_values", minimum=1.0),
        why="What a call was given changes no later answer.",
        failure="an ordinary call no longer gives the same answer after unusual values",
        faults=("spoiled-by-denormals",),
    ),
)
_ON_HARDWARE = (
    Check(
        _gate(
            "same-answer-anywhere", metric="answer_in_surroundings", minimum=1.0, cases=(f"{SURROUNDINGS}/*",)
        ),
        why="Locale, time zone, working folder, cores, descriptors and memory may end a model, and change "
        "none of its answers.",
        failure="the answers depend on the surroundings of the process",
        faults=("depends-on-time-zone", "wrong-on-one-core", "wrong-without-memory"),
    ),
    Check(
        _gate(
            "same-answer-under-pressure",
            metric="answer_under_pressure",
            minimum=1.0,
            cases=(f"{PRESSURE}/*",),
        ),
        why="A busy machine makes a model slower, and changes none of its answers.",
        failure="the answers differ on a busy machine",
        faults=("wrong-when-slow",),
    ),
)
CHECKS = (
    *(replace(check, applies=_is_standard) for check in _EVERYWHERE),
    *(replace(check, applies=_is_standard_hardware) for check in _ON_HARDWARE),
)
