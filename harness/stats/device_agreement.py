"""Answers of several devices → the share of samples on which each two agree. Arithmetic only."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.core.suite import SupportsAgreement
from harness.stats.intervals import Interval, wilson

#: All shifts of a variant and setting together, as if they were one case.
SHIFTS = "all shifts"


class Place(NamedTuple):
    """Where answers were given: the key of a job, but for the device."""

    suite: str
    variant: str
    setting: str
    case: str
    severity: int


@dataclass(frozen=True, slots=True)
class Device:
    """One backend of one target in one run.

    Parameters
    ----------
    name : str
        What it is called; no two have one name.
    sets : mapping of str to str
        Digest of each data set of the run.
    task : str
    answers : mapping of Place to object
        What the suite's ``answers`` read; a text says why there are none.
    """

    name: str
    sets: Mapping[str, str]
    task: str
    answers: Mapping[Place, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two devices gave the same answers in one place.

    ``shares`` has an interval for each thing that is compared (``top-1``, ``bits``), whose ``n`` counts the
    answers that both gave; it is empty where they cannot be compared, and ``why`` says why not. Of all
    shifts together there is no interval, and ``why`` says how many were left out.
    """

    one: str
    other: str
    place: Place
    shares: Mapping[str, Interval]
    why: str = ""


def agreements(devices: Sequence[Device], suites: Mapping[str, object]) -> list[Agreement]:
    """Compare every two devices in every place, on the samples that both ran.

    Only answers to the same data are compared: those of sets with the same digest. Samples come in one order
    everywhere, so that a device which ran fewer ran the first of them.
    """
    able = {name: suite for name, suite in suites.items() if isinstance(suite, SupportsAgreement)}
    return [
        agreement
        for one, other in combinations(devices, 2)
        for agreement in _between(one, other, able)
    ]  # fmt: skip


def _between(one: Device, other: Device, suites: Mapping[str, SupportsAgreement]) -> Iterator[Agreement]:
    shifts: dict[Place, list[tuple[Mapping[str, NDArray[np.bool_]], str]]] = defaultdict(list)
    for place in dict.fromkeys((*one.answers, *other.answers)):
        if place.suite not in suites:
            continue
        same, why = _alike(one, other, place, suites[place.suite])
        shares = {what: wilson(int(np.count_nonzero(equal)), equal.size) for what, equal in same.items()}
        yield Agreement(one.name, other.name, place, shares, why)
        if place.severity:
            shifts[place._replace(case=SHIFTS, severity=0)].append((same, why))
    for place, cases in shifts.items():
        compared = [same for same, _ in cases if same]
        reasons = [why for _, why in cases if why]
        shares = {
            what: _pooled([same[what] for same in compared if what in same]) for what in _names(compared)
        }
        why = f"{len(reasons)} of {len(cases)} left out: {reasons[0]}" if reasons and compared else ""
        yield Agreement(one.name, other.name, place, shares, why or (reasons[0] if reasons else ""))


def _alike(
    one: Device, other: Device, place: Place, suite: SupportsAgreement
) -> tuple[Mapping[str, NDArray[np.bool_]], str]:
    if why := _apart(one, other, place):
        return {}, why
    try:
        return suite.alike(one.answers[place], other.answers[place], one.task), ""
    except DataError as error:
        return {}, f"other outputs: {error.what}"


def _apart(one: Device, other: Device, place: Place) -> str:
    """Why the answers of two devices in one place cannot be compared; empty where they can."""
    for device in (one, other):
        if place not in device.answers:
            return f"not run on {device.name}"
        if isinstance(answer := device.answers[place], str):
            return f"{device.name}: {answer}"
    if one.task != other.task:
        return "other task"
    name = f"{place.case}_{place.severity}" if place.severity else place.case
    return "" if one.sets.get(name, "") == other.sets.get(name, "") else "other data"


def _names(compared: Sequence[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(name for same in compared for name in same))


def _pooled(columns: Sequence[NDArray[np.bool_]]) -> Interval:
    """Mean over all answers; without an interval, since one image under many shifts is one image."""
    every = np.concatenate(columns)
    return Interval(float(every.mean()) if every.size else math.nan, math.nan, math.nan, every.size)
