"""What the accuracy suite runs: every data set as it ships, and the clean one with numbers pinned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness import tasks
from harness.core import settings as tables
from harness.core.job import DEPLOY, PARITY, Case
from harness.core.profile import Profile
from harness.core.settings import Problems, choice, option, whole
from harness.core.suite import CLEAN, CaseContext, SetInfo

FLOAT = "float32"
KEEPS = ("outputs", "reduced")

#: Generous, because only a hang should meet it: emulated and small devices need up to a second a sample.
START_DEADLINE_S, SAMPLE_DEADLINE_S = 60.0, 1.0
#: What the bundled model takes, a constant and a part per sample; the same on an emulated Pi 4.
TYPICAL_S, EMULATED_TYPICAL_S = (0.02, 1e-4), (0.2, 0.02)


@dataclass(frozen=True, slots=True)
class Settings:
    """The table ``[suites.accuracy]``.

    Parameters
    ----------
    batch : int
        Samples an inference; a model with a fixed batch keeps its own.
    keep : str
        ``outputs`` stores the outputs as they are, ``reduced`` only what the task makes of them on the device
        (`Task.reduce`), with the limits and a hash of each.
    group_samples : int
        Groups with fewer samples are not compared for the worst one.
    """

    batch: int = option(32, whole(1))
    keep: str = option("outputs", choice(*KEEPS))
    group_samples: int = option(20, whole(2))


def check(settings: Mapping[str, Any]) -> Problems:
    """List what is wrong with the table: pairs of key and message."""
    return tables.check(settings, Settings)


def read(settings: Mapping[str, Any]) -> Settings:
    """Freeze the table; raises ``ConfigurationError`` with every problem."""
    return tables.read(settings, Settings, "suites.accuracy")


def cases(context: CaseContext) -> tuple[Case, ...]:
    """List the cases of one variant: what ships on every set, and `parity` on the clean one.

    On the host the reference runs pinned only: the float model on every set, because losses are relative to
    it; the other variants on the clean set, for bit-exactness. Mistakes of a deployment are for the float
    model alone.
    """
    settings = read(context.settings)
    batch = context.batch or settings.batch
    task = tasks.on_host(context.task)

    def case(info: SetInfo, setting: str) -> Case:
        samples = info.samples if context.max_samples is None else min(info.samples, context.max_samples)
        constant_s, sample_s = EMULATED_TYPICAL_S if context.emulated else TYPICAL_S
        params: dict[str, Any] = {}
        if info.sequences:
            params["sequences"] = info.sequences_within(samples)
        if info.mistake:
            params["mistake"] = True
        if context.profile is Profile.STANDARD and setting == DEPLOY:
            params["deep"] = True  # no key without it: a quick run's plan is as it was
        planned = Case(
            name=info.family,
            severity=info.severity,
            setting=setting,
            data=info.name,
            samples=samples,
            deadline_s=START_DEADLINE_S + SAMPLE_DEADLINE_S * samples,
            params={
                "batch": batch,
                "keep": settings.keep,
                "reference": context.reference,
                "task": context.task,
                "labelled": context.labelled,
                "outputs": [spec.name for spec in context.outputs],
                "scored": context.output,
                "threshold": context.threshold,
                "options": dict(context.options),
                "input_sha256": info.input_sha256(samples),
                **params,
            },
            typical_s=constant_s + sample_s * samples,
            timed=False,
        )
        return task.case(planned, context)

    clean = [info for info in context.sets if info.family == CLEAN]
    shifts = [info for info in context.sets if not info.mistake]
    if context.reference:
        return tuple(case(info, PARITY) for info in (shifts if context.variant == FLOAT else clean))
    shipped = context.sets if context.variant == FLOAT else shifts
    skipped = (
        Case(name, severity=1, skipped=reason, timed=False) for name, reason in context.skipped_shifts.items()
    )
    return (
        *(case(info, DEPLOY) for info in shipped), *(case(info, PARITY) for info in clean), *skipped,
    )  # fmt: skip
