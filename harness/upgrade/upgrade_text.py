"""What an upgrade of a runtime means, for people: one line a target and variant, and the reasons below."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.text import Text

from harness.core.verdict import State
from harness.gates.judge import number_text
from harness.report.grid import grid
from harness.stats import kernels, side_by_side
from harness.stats.intervals import Interval
from harness.stats.kernels import Slower
from harness.timing.interleave import percentiles
from harness.upgrade.decision import Decision, Trouble, decide, overall
from harness.upgrade.run_both import Asked, Comparison
from harness.upgrade.targets import NEW, OLD
from harness.upgrade.upgrade_files import Kept

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


def show(kept: Kept, asked: Asked, console: Console) -> int:
    """Print the table, the reasons and the answer; the exit code."""
    found = kept.found
    decided = [decide(each.findings, asked.margin_pt) for each in found]
    console.print(
        f"{asked.runtime} {asked.old} -> {asked.new}   "
        f"margin {asked.margin_pt:g} pt, latency up to {asked.criterion.limit:g}x",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    lines = [_line(each, decision) for each, (decision, _) in zip(found, decided, strict=True)]
    console.print(grid(console, (*COLUMNS, DECISION), lines, LEFT, SPARE))
    for text in details(found, decided):
        console.print(Text(text), soft_wrap=True)
    console.print(Text(f"{'facts':<13} {kept.folder}"), soft_wrap=True)
    state, code = overall(decision for decision, _ in decided)
    good = sum(decision in (Decision.SAME, Decision.WITHIN_MARGIN) for decision, _ in decided)
    console.print()
    head = Text(f"{state.value:<13}", style=COLOURS[state])
    console.print(head.append(f"{good} of {len(found)} may be upgraded", style="default"), soft_wrap=True)
    console.print(f"verdict: {state.value} ({code})", highlight=False)
    return code


def _line(found: Comparison, decision: Decision) -> dict[str, str | Text]:
    state, _ = overall([decision])
    words = decision.value + culprit(found) * (decision is Decision.SLOWER)
    return {
        **dict(zip(COLUMNS, cells(found), strict=True)),
        DECISION: Text(words, style=COLOURS[state]),
    }


def cells(found: Comparison) -> tuple[str, ...]:
    """What a line says, in the order of ``COLUMNS``."""
    f = found.findings
    memory = _memory(found)
    looks = found.timed.looks if found.timed is not None else ()
    return (
        found.target,
        found.variant,
        loads(found),
        share_text(f.bit_exact),
        NOTHING if f.flips is None else str(f.flips),
        NOTHING if f.loss_pt is None else f"{f.loss_pt.value:.2f} [{f.loss_pt.high:.2f}]",
        *((ratio_text(looks[-1].ratio)).split(" ", 1) if looks else (NOTHING, "")),
        NOTHING if memory is None else f"{memory.value:.2f}x",
    )


def loads(found: Comparison) -> str:
    """Whether both versions run the model; in a word or two, why not."""
    troubles = found.findings.troubles
    if NEW in troubles:
        return short(troubles[NEW])
    if OLD in troubles:
        return f"old: {short(troubles[OLD])}"
    return "ok" if found.samples else NOTHING


def short(trouble: Trouble) -> str:
    """A reason in a few words."""
    if trouble.stage == "install":
        return "no wheel" if "No matching distribution" in trouble.reason else "not installed"
    killed = re.search(r"killed by (\w+)", trouble.reason)
    hangs = "did not answer" in trouble.reason or "passed its deadline" in trouble.reason
    what = killed[1] if killed else "hangs" if hangs else "error"
    return f"{what} {STAGES[trouble.stage]}"


def share_text(share: float) -> str:
    """A share in percent that says 100 only where it is all."""
    if math.isnan(share):
        return NOTHING
    return f"{100 * share:.0f} %" if share in (0.0, 1.0) else f"{min(99.9, max(0.1, 100 * share)):.1f} %"


def ratio_text(ratio: Interval) -> str:
    """A ratio with its interval."""
    return f"{ratio.value:.2f}x [{ratio.low:.2f}, {ratio.high:.2f}]"


def _memory(found: Comparison) -> Interval | None:
    if found.timed is None:
        return None
    peaks = found.timed.memory_byte
    old, new = (np.array(each, np.float64) for each in (peaks["base"] + peaks["control"], peaks["new"]))
    return side_by_side.ratio(old, new) if min(len(old), len(new)) > 1 else None


def culprit(found: Comparison) -> str:
    """The operator that adds most time; empty where the profile does not show it."""
    slow = _slower(found)
    return f": {slow[0].operator}, {_nodes(slow[0].nodes)}" if slow else ""


def _slower(found: Comparison) -> list[Slower]:
    old, new = found.profiles[OLD], found.profiles[NEW]
    if found.timed is None or min(len(old), len(new)) < 2:
        return []
    times, share = found.timed.times_ns, found.timed.criterion.metric.percentile
    before, after = (float(percentiles(times, arm, share).mean()) for arm in ("base", "new"))
    return kernels.slower(old, new, after - before)[:MOST_OPERATORS]


def details(found: Sequence[Comparison], decided: Sequence[tuple[Decision, str]]) -> list[str]:
    """Why, and by what, line by line; where the files came from."""
    of: dict[tuple[str, str], list[str]] = {}  # what is said, to the lines of which it is said
    for each, (decision, why) in zip(found, decided, strict=True):
        said = [(decision.value, _brief(why))] * bool(why)
        if decision is Decision.SLOWER:
            slow = [("slower", _slower_text(slow)) for slow in _slower(each)]
            said += slow or [("slower", each.no_profile or OUTSIDE)]
        if each.findings.repeats < 1:
            share = share_text(each.findings.repeats)
            said.append(("bits", f"the old version itself repeats {share} of its outputs"))
        if moved := _moved(each):
            said.append(("kernels", moved))
        for text in said:
            of.setdefault(text, []).append(f"{each.target} {each.variant}")
    for each in found:
        if each.origin:
            of.setdefault(("artifacts", each.origin), []).append(f"{each.target} {each.variant}")
    return [f"{label:<13} {', '.join(names)}: {text}" for (label, text), names in of.items()]


def _brief(why: str) -> str:
    """A reason in one line; of what pip says, the last error."""
    what, _, said = why.partition("; ")
    if PIP in said:
        return f"{what}; {said.rpartition(PIP)[2]}"
    return "; ".join(filter(None, map(str.strip, why.splitlines())))


def _slower_text(slow: Slower) -> str:
    added = f"{number_text(slow.added_ns, 'ns')} more a call"
    how = "a kernel that the old version does not run" if slow.ratio is None else ratio_text(slow.ratio)
    return f"{slow.operator}, {_nodes(slow.nodes)}: {how}, {added}"


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


def _moved(found: Comparison) -> str:
    """Operators of which both versions run another number of nodes."""
    if not (found.profiles[OLD] and found.profiles[NEW]):
        return ""
    moved = kernels.changed(found.profiles[OLD][0], found.profiles[NEW][0])
    return ", ".join(f"{operator} {before} -> {after}" for operator, (before, after) in moved.items())
