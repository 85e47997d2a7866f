"""What an upgrade of a runtime means, for people: one line a target and variant, and the reasons below."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from rich.console import Console
from rich.text import Text

from harness.core.verdict import State
from harness.gates.number_text import number_text
from harness.report.grid import grid
from harness.stats import kernels, side_by_side
from harness.stats.intervals import Interval
from harness.stats.kernels import Slower
from harness.timing.interleave import percentiles
from harness.upgrade.decision import Decision, Failure, decide, overall
from harness.upgrade.files import StoredUpgrade
from harness.upgrade.run_both import Comparison, UpgradeRequest, Why
from harness.upgrade.targets import NEW, OLD

COLOURS = {
    State.PASS: "green",
    State.FAIL: "bold red",
    State.INCONCLUSIVE: "yellow",
    State.NOT_RUN: "magenta",
}
COLUMNS = ("target", "variant", "loads", "bit-equal", "flips", "loss pt [bound]", "p50", "[interval]", "RSS")
DECISION = "decision"
LEFT = ("target", "variant", "loads", DECISION)
#: Left out, one after the other, on a terminal that is too narrow; the facts have them all.
SPARE = ("loss pt [bound]", "RSS", "[interval]", "flips")
#: Operators that are named, of those that got slower.
MOST_OPERATORS = 3
NOTHING = "--"
PIP = "ERROR: "
OUTSIDE = "no operator shows it: it lies outside the kernels, or below the tick of their clock"
STAGES = {"import": "at import", "run": "with the model"}


def show(stored: StoredUpgrade, request: UpgradeRequest, console: Console) -> int:
    """Print the table, the reasons and the answer; the exit code."""
    comparisons = stored.comparisons
    decided = [decide(comparison.findings, request.margin_pt) for comparison in comparisons]
    console.print(
        f"{request.runtime} {request.old} -> {request.new}   "
        f"margin {request.margin_pt:g} pt, latency up to {request.criterion.limit:g}x",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    lines = [
        _line(comparison, decision) for comparison, (decision, _) in zip(comparisons, decided, strict=True)
    ]
    console.print(grid(console, (*COLUMNS, DECISION), lines, LEFT, SPARE))
    for line in details(comparisons, decided):
        console.print(Text(line), soft_wrap=True)
    console.print(Text(f"{'facts':<13} {stored.folder}"), soft_wrap=True)
    state, code = overall(decision for decision, _ in decided)
    good = sum(decision in (Decision.SAME, Decision.WITHIN_MARGIN) for decision, _ in decided)
    console.print()
    head = Text(f"{state.value:<13}", style=COLOURS[state])
    console.print(
        head.append(f"{good} of {len(comparisons)} may be upgraded", style="default"), soft_wrap=True
    )
    console.print(f"verdict: {state.value} ({code})", highlight=False)
    return code


def _line(comparison: Comparison, decision: Decision) -> dict[str, str | Text]:
    state, _ = overall([decision])
    words = decision.value
    if decision is Decision.SLOWER:
        words += slowest_operator(comparison)
    return {
        **dict(zip(COLUMNS, cells(comparison), strict=True)),
        DECISION: Text(words, style=COLOURS[state]),
    }


def cells(comparison: Comparison) -> tuple[str, ...]:
    """What a line says, in the order of ``COLUMNS``."""
    f = comparison.findings
    memory = _memory(comparison)
    looks = comparison.timed.looks if comparison.timed is not None else ()
    return (
        comparison.target,
        comparison.variant,
        loads(comparison),
        share_text(f.bit_exact),
        NOTHING if f.flips is None else str(f.flips),
        NOTHING if f.loss_pt is None else f"{f.loss_pt.value:.2f} [{f.loss_pt.high:.2f}]",
        *((ratio_text(looks[-1].ratio)).split(" ", 1) if looks else (NOTHING, "")),
        NOTHING if memory is None else f"{memory.value:.2f}x",
    )


def loads(comparison: Comparison) -> str:
    """Whether both versions run the model; in a word or two, why not."""
    failures = comparison.findings.failures
    if NEW in failures:
        return short(failures[NEW])
    if OLD in failures:
        return f"old: {short(failures[OLD])}"
    return "ok" if comparison.samples else NOTHING


def short(failure: Failure) -> str:
    """A reason in a few words."""
    if failure.stage == "install":
        return "no wheel" if "No matching distribution" in failure.reason else "not installed"
    killed = re.search(r"killed by (\w+)", failure.reason)
    hangs = "did not answer" in failure.reason or "passed its deadline" in failure.reason
    what = killed[1] if killed else "hangs" if hangs else "error"
    return f"{what} {STAGES[failure.stage]}"


def share_text(share: float) -> str:
    """A share in percent that says 100 only where it is all."""
    if math.isnan(share):
        return NOTHING
    return f"{100 * share:.0f} %" if share in (0.0, 1.0) else f"{min(99.9, max(0.1, 100 * share)):.1f} %"


def ratio_text(ratio: Interval) -> str:
    """A ratio with its interval."""
    return f"{ratio.value:.2f}x [{ratio.low:.2f}, {ratio.high:.2f}]"


def _memory(comparison: Comparison) -> Interval | None:
    if comparison.timed is None:
        return None
    peaks = comparison.timed.memory_byte
    old, new = (np.array(values, np.float64) for values in (peaks["base"] + peaks["control"], peaks["new"]))
    return side_by_side.ratio(old, new) if min(len(old), len(new)) > 1 else None


def slowest_operator(comparison: Comparison) -> str:
    """The operator that adds most time; empty where the profile does not show it."""
    slow = _slower(comparison)
    return f": {slow[0].operator}, {_nodes(slow[0].nodes)}" if slow else ""


def _slower(comparison: Comparison) -> list[Slower]:
    old, new = comparison.profiles[OLD], comparison.profiles[NEW]
    if comparison.timed is None or min(len(old), len(new)) < 2:
        return []
    times, share = comparison.timed.times_ns, comparison.timed.criterion.metric.percentile
    before, after = (float(percentiles(times, arm, share).mean()) for arm in ("base", "new"))
    return kernels.slower(old, new, after - before)[:MOST_OPERATORS]


def details(comparisons: Sequence[Comparison], decided: Sequence[tuple[Decision, str]]) -> list[str]:
    """Why, and by what, line by line; where the files came from."""
    subjects: dict[tuple[str, str], list[str]] = {}  # by label and text
    for comparison, (decision, why) in zip(comparisons, decided, strict=True):
        subject = f"{comparison.target} {comparison.variant}"
        for entry in _entries(comparison, decision, why):
            subjects.setdefault(entry, []).append(subject)
    for comparison in comparisons:
        if comparison.origin:
            subject = f"{comparison.target} {comparison.variant}"
            subjects.setdefault(("artifacts", comparison.origin), []).append(subject)
    return [f"{label:<13} {', '.join(names)}: {text}" for (label, text), names in subjects.items()]


def _entries(comparison: Comparison, decision: Decision, why: str) -> Iterator[tuple[str, str]]:
    """Label and text of every line about one comparison."""
    if why:
        yield decision.value, _brief(why)
    if decision is Decision.SLOWER:
        slower = [("slower", _slower_text(slow)) for slow in _slower(comparison)]
        yield from slower or [("slower", comparison.no_profile or OUTSIDE)]
    if comparison.findings.repeats < 1:
        share = share_text(comparison.findings.repeats)
        yield "bits", f"the old version itself repeats {share} of its outputs"
    if comparison.why is not None:
        yield from _why(comparison.why)
    if moved := _moved(comparison):
        yield "kernels", moved


def _why(why: Why) -> Iterator[tuple[str, str]]:
    """The first layer and the cause of other bits; providers that run another number of nodes."""
    if why.layer:
        yield "first layer", f"{why.layer} ({why.operator})"
    for cause in why.causes:
        yield "cause", cause
    if why.reason:
        yield "cause", f"not named: {why.reason}"
    before, after = (why.placement.get(side, {}) for side in (OLD, NEW))
    if before != after:
        yield "placement", f"{_placed(before)} -> {_placed(after)}"


def _placed(nodes: Mapping[str, int]) -> str:
    texts = [f"{_nodes(count)} on {provider}" for provider, count in sorted(nodes.items())]
    return ", ".join(texts) or "not told"


def _brief(why: str) -> str:
    """A reason in one line; of what pip says, the last error."""
    what, _, output = why.partition("; ")
    if PIP in output:
        return f"{what}; {output.rpartition(PIP)[2]}"
    return "; ".join(filter(None, map(str.strip, why.splitlines())))


def _slower_text(slow: Slower) -> str:
    added = f"{number_text(slow.added_ns, 'ns')} more a call"
    how = "a kernel that the old version does not run" if slow.ratio is None else ratio_text(slow.ratio)
    return f"{slow.operator}, {_nodes(slow.nodes)}: {how}, {added}"


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


def _moved(comparison: Comparison) -> str:
    """Operators of which both versions run another number of nodes."""
    if not (comparison.profiles[OLD] and comparison.profiles[NEW]):
        return ""
    moved = kernels.changed(comparison.profiles[OLD][0], comparison.profiles[NEW][0])
    return ", ".join(f"{operator} {before} -> {after}" for operator, (before, after) in moved.items())
