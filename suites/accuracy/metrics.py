"""The metrics of the accuracy suite."""

from __future__ import annotations

from collections.abc import Mapping

from harness import tasks
from harness.core.errors import HarnessError
from harness.core.metric import Metric, Noise, Role
from harness.tasks.shared import whole_set
from suites.accuracy import groups, mistakes, noticed, shifts

#: Of every output, whatever the task.
OF_OUTPUTS: Mapping[str, Metric] = {
    "sqnr": whole_set("dB", "higher", Noise.SAMPLE, drift=True),
    "max_abs_difference": whole_set("1", "lower", Noise.SAMPLE, drift=True),
    "bit_exact": whole_set("1", "higher", role=Role.BIT_EXACT, drift=True),
    "max_lsb": whole_set("LSB", "lower"),
    "mean_lsb": whole_set("LSB", "lower", Noise.SAMPLE),
    "difference_over_rounding": whole_set("1", "lower", role=Role.ROUNDING),
    "nonfinite_outputs": whole_set("1", "lower"),
    "input_digest_equal": whole_set("1", "higher"),
}
#: Metrics stand in the order of these roles: how good, how alike, how much worse, what flipped.
PLACES = (Role.RESULT, Role.AGREEMENT, Role.LOSS, Role.CLASS_LOSS, Role.HARMFUL, Role.BENEFICIAL)


def declared() -> Mapping[str, Metric]:
    """Return every metric of the suite: those of the installed tasks, of outputs, and of groups.

    Raises
    ------
    HarnessError
        A task cannot be loaded, or two tasks declare one name differently.
    """
    made: dict[str, tuple[int, Metric]] = {}
    first: dict[str, str] = {}
    for name, task in tasks.every_on_host().items():
        place = 0
        for metric, declaration in task.metrics.items():
            place = PLACES.index(declaration.role) if declaration.role in PLACES else place
            if made.setdefault(metric, (place, declaration))[1] != declaration:
                raise HarnessError(
                    f"the tasks {first[metric]} and {name} declare the metric {metric} differently",
                    next_step="give one of them another name: docs/adding-a-task.md",
                )
            first.setdefault(metric, name)
    # Stable: within a place in the order of the tasks.
    of_tasks = sorted(made.items(), key=lambda item: item[1][0])
    by_task = {name: metric for name, (_, metric) in of_tasks}
    return {
        **by_task,
        **mistakes.metrics(by_task),
        **OF_OUTPUTS,
        **shifts.METRICS,
        **noticed.METRICS,
        **dict(groups.metrics()),
    }
