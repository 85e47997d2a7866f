"""What every honest deployment holds about its answers, as rows of this suite."""

from __future__ import annotations

from functools import partial

from harness import tasks
from harness.core.check import Check
from harness.core.job import PARITY
from harness.core.suite import CLEAN, CaseContext
from harness.core.verdict import Gate

_gate = partial(Gate, suite="accuracy")

#: A class, a shift or a group that loses more than this has lost what the model can do there, whatever the
#: mean says; the loss has to be significant for all of them together.
MOST_WORST_PT = 5.0
#: The float model as it ships against the float model on the host: bfloat16 and other kernels lose less.
MOST_DEPLOYED_PT = 1.0

_worst = partial(
    _gate, variants=("*",), reference="float32@host", maximum=MOST_WORST_PT, maximum_unit="pt",
    on_inconclusive="warn",
)  # fmt: skip


def _made(metric: str, context: CaseContext) -> bool:
    """Whether the task makes rows of a metric, which needs labels."""
    return context.labelled and metric in tasks.on_host(context.task).metrics


CHECKS = (
    Check(
        _gate("same-inputs-as-host", metric="input_digest_equal", minimum=1.0),
        why="Every device preprocesses the same raw bytes; other bytes at the model's input make every "
        "comparison of answers meaningless.",
        failure="the device fed the model with other inputs than the host",
        faults=("wrong-preprocessing",),
    ),
    Check(
        _gate(
            "same-numbers-as-host",
            metric="difference_over_rounding",
            setting=PARITY,
            cases=(CLEAN,),
            reference="*@host",
            maximum=1.0,
        ),
        why="The same file on the same inputs, with pinned precision and threads, gives numbers that differ "
        "by rounding alone; how much is derived for each output of this model. Where runtime, CPU and "
        "settings are those of the host, every bit is equal (docs/checks.md).",
        failure="the numbers differ from the host's by more than rounding explains",
        faults=(
            "other-weights",
            "offset",
            "scale",
            "last-bit",
            "float16",
            "bfloat16",
            "swapped-scores",
            "zero-channel",
            "permuted-classes",
            "saturated",
            "reads-another-file",
        ),
    ),
    Check(
        _gate("finite-where-the-host-is", metric="nonfinite_outputs", maximum=0.0),
        why="Finite inputs for which the float model on the host has finite outputs give finite outputs.",
        failure="outputs are NaN or infinite",
        faults=("nan",),
    ),
    Check(
        _gate(
            "float-accuracy-as-on-host",
            metric="accuracy_loss",
            variants=("float32",),
            cases=(CLEAN,),
            reference="float32@host",
            maximum=MOST_DEPLOYED_PT,
            maximum_unit="pt",
            on_inconclusive="warn",
        ),
        why="The float model as it ships answers as it does on the host: deployed precision and kernels do "
        "not cost a point of accuracy.",
        failure="the float model lost accuracy on this target alone",
        faults=("other-weights", "class-never-answered"),
        applies=partial(_made, "accuracy_loss"),
    ),
    Check(
        _worst("no-class-lost", metric="worst_class_accuracy_loss", cases=(CLEAN,)),
        why="A mean hides a class that a variant no longer recognises; the interval holds for all classes "
        "together (Bonferroni).",
        failure="one class lost its accuracy",
        faults=("class-never-answered",),
        applies=partial(_made, "worst_class_accuracy_loss"),
    ),
    Check(
        _worst("no-shift-lost", metric="accuracy_loss", severities=(1, 2, 3, 4, 5), combine="worst"),
        why="A mean over shifts hides one under which a variant fails; the interval holds for all shifts "
        "together (Bonferroni).",
        failure="accuracy was lost under one shift",
        faults=("class-never-answered",),
        applies=lambda context: (
            _made("accuracy_loss", context) and any(info.severity for info in context.sets)
        ),
    ),
)
