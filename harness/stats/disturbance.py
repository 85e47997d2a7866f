"""Whether a machine was disturbed while it measured: its facts before, during and after, compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.core.cause import Cause, Reason
from harness.core.job import EnvironmentRecord

#: Bits of ``vcgencmd get_throttled`` by what they mean now; 16 bits higher: since boot.
THROTTLED = {0: "under-voltage", 1: "a capped frequency", 2: "throttling", 3: "the soft temperature limit"}
SINCE_BOOT = 16
#: Bits of NVML's clocks event reasons that say that a GPU computes below its clocks. Left out: idle (0), the
#: settings of applications and displays (1, 8), the voltage's reliability (10), which limits a healthy GPU.
GPU_THROTTLED = {
    2: "a power cap", 3: "a hardware slowdown", 4: "the clocks of its sync boost group",
    5: "a thermal slowdown by software", 6: "a thermal slowdown by hardware", 7: "a power brake",
    9: "a board limit",
}  # fmt: skip
#: Share of the machine's time that other guests took. 117 batches on a shared machine whose latencies agreed
#: had 0 to 0.9 %; p99 rests on the slowest hundredth of the requests, which a twentieth of the time can be.
MOST_STEAL = 0.05
#: Share of the time that the measuring process was ready to run and waited for a core. What others do matters
#: only as far as it keeps this process waiting, which the kernel counts. Measured on two cores (ONNX Runtime,
#: OpenVINO, digits): 0 to 0.12 beside nothing, 0.28 to 0.58 beside a session of one to six busy processes;
#: ONNX Runtime's p50 stayed the same, p99 rose from 0.1 to 4 ms, and every verdict was the same. Beside ten
#: busy sessions it waited 0.83 of its time, and p99 was 18 ms: the scheduler's, and above the limit of 10. A
#: lower threshold would make the verdict depend on what else runs on a developer's machine.
MOST_WAITING = 2 / 3
#: Ticks of /proc/stat a second (USER_HZ) on every architecture that runs Linux here.
TICK_NS = 10_000_000
#: By so much more a machine was busier, so that times of two runs do not compare. Equal runs of digits on
#: two cores: where other programs used 0.6 of the machine in place of 0.25, p50 was 17 % higher (they share
#: caches and the clock), though the process waited 0.02 of its time; where it waited 0.25 to 0.43, p99 was 2
#: to 24 times as high. Runs beside the same load differed by up to 0.15, 0.03 and 0.003.
BUSIER = {"others": 0.2, "waiting": 0.05, "steal": 0.01}
#: Where a process waited for so much of its time while other programs used as much of the machine, the
#: scheduler decides what a call takes, and no two runs agree. Of 109 pairs of equal runs beside equal loads,
#: 7 had a time that was called worse. Threads of its own that wait for each other do so in every run.
CROWDED = 0.2
_BUSY = {
    "others": "other programs used {} of its time against {}",
    "waiting": "the process waited for a core {} of its time against {}",
    "steal": "other guests took {} of its time against {}",
}


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the machine was during a batch, as shares of time; NaN where it does not report it.

    Parameters
    ----------
    others : float
        Of all cores, used by other programs (and to start processes).
    waiting : float
        That the measuring processes were ready to run and waited for a core.
    steal : float
        Of all cores, taken by other guests of the host.
    """

    others: float
    waiting: float
    steal: float


def loads(records: Iterable[EnvironmentRecord]) -> dict[tuple[str, ...], Load]:
    """Load of each batch, by target, backend, variant and suite."""
    batches: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for record in records:
        key = (record.target, record.backend, record.variant, record.suite)
        batches.setdefault(key, []).append(record.facts)
    return {key: _load(facts) for key, facts in batches.items()}


def _load(facts: list[Mapping[str, Any]]) -> Load:
    spent = [part["scheduling"] for part in facts if "ran_ns" in part.get("scheduling", {})]
    ran_ns, waited_ns = (sum(part[name] for part in spent) for name in ("ran_ns", "waited_ns"))
    ready_ns = ran_ns + waited_ns
    waiting = waited_ns / ready_ns if ready_ns else math.nan
    first, last = (facts[index].get("cpu_time", {}) for index in (0, -1))
    ticks = {name: last.get(name, 0) - first.get(name, 0) for name in ("busy", "idle", "steal")}
    total = sum(ticks.values())
    if "busy" not in first or "busy" not in last or total <= 0:
        return Load(math.nan, waiting, math.nan)
    others = max(0.0, ticks["busy"] - ran_ns / TICK_NS) / total if ready_ns else math.nan
    return Load(others, waiting, ticks["steal"] / total)


def busier(base: Load, new: Load) -> str:
    """In what the machine of `new` was so much busier that times do not compare; empty where it was not."""
    texts = []
    for name, more in BUSIER.items():
        shares = getattr(new, name), getattr(base, name)
        if shares[0] - shares[1] > more:  # never where one is NaN
            texts.append(_BUSY[name].format(*(f"{100 * share:.2g} %" for share in shares)))
    return "; ".join(texts)


def both_crowded(one: Load, two: Load) -> str:
    """How long both waited for a core because of other programs; empty where one of them did not."""
    shares = (one.waiting, two.waiting, one.others, two.others)
    if all(share > CROWDED for share in shares):  # never where one is NaN
        return _BUSY["waiting"].format(*(f"{100 * load.waiting:.2g} %" for load in (two, one)))
    return ""


def disturbance(
    before: Mapping[str, Any], after: Mapping[str, Any], during: Iterable[Mapping[str, Any]] = ()
) -> tuple[Reason, ...]:
    """Return why times measured in between are invalid; empty where they are valid.

    Parameters
    ----------
    before, after : mapping
        ``environment.state_facts()``, and on a GPU ``Gpu.state_facts()``, of the first worker's start and
        the last one's end. A fact that this machine does not report is ignored.
    during : iterable of mapping
        The same in between, for facts that hold only at one moment.
    """
    reasons: list[Reason] = []
    bits, bits_before = after.get("throttled"), before.get("throttled")
    if isinstance(bits, int) and isinstance(bits_before, int):
        seen = [
            what
            for bit, what in THROTTLED.items()
            if bits >> bit & 1 or (bits & ~bits_before) >> (bit + SINCE_BOOT) & 1
        ]
        if seen:
            reasons.append(Reason(Cause.THROTTLING, f"the board reported {', '.join(seen)}"))
    count, count_before = after.get("throttle_count"), before.get("throttle_count")
    if isinstance(count, int) and isinstance(count_before, int) and count > count_before:
        text = f"heat throttled the cores {count - count_before} times"
        reasons.append(Reason(Cause.THROTTLING, text))
    ticks, ticks_before = after.get("cpu_time"), before.get("cpu_time")
    if isinstance(ticks, Mapping) and isinstance(ticks_before, Mapping) and "steal" in ticks:
        spent = {name: ticks[name] - ticks_before.get(name, 0) for name in ticks}
        total = sum(spent.values())
        if total > 0 and spent["steal"] > MOST_STEAL * total:
            text = f"other guests took {spent['steal'] / total:.0%} of this machine's time"
            reasons.append(Reason(Cause.CPU_STEAL, text))
    if causes := _gpu_throttling(before, after, during):
        text = f"the GPU was held below its clocks by {', '.join(causes)}"
        reasons.append(Reason(Cause.THROTTLING, text))
    return tuple(reasons)


def _gpu_throttling(
    before: Mapping[str, Any], after: Mapping[str, Any], during: Iterable[Mapping[str, Any]]
) -> list[str]:
    """What slowed a GPU: bits, which show one moment, and counters, which miss nothing."""
    moments = [facts.get("gpu_state", {}) for facts in (*during, after)]
    bits = [state["throttle_reasons"] for state in moments if isinstance(state.get("throttle_reasons"), int)]
    causes = [what for bit, what in GPU_THROTTLED.items() if any(now >> bit & 1 for now in bits)]
    old, new = (facts.get("gpu_state", {}).get("throttled_ns", {}) for facts in (before, after))
    for policy, ns in new.items():
        if isinstance(ns, int) and isinstance(old.get(policy), int) and ns > old[policy]:
            causes.append(f"{policy.replace('_', ' ')} ({(ns - old[policy]) / 1e6:.3g} ms)")
    return causes


def overload(during: Mapping[str, Any]) -> Reason | None:
    """Return that other processes kept the jobs from running; None where they did not, or it is unknown.

    Parameters
    ----------
    during : mapping
        Has ``scheduling`` as ``environment.scheduling()`` gives it, of the jobs since the previous record.
    """
    spent = during.get("scheduling", {})
    ran_ns, waited_ns = spent.get("ran_ns", 0), spent.get("waited_ns", 0)
    if waited_ns <= MOST_WAITING * (ran_ns + waited_ns):
        return None
    share = waited_ns / (ran_ns + waited_ns)
    text = f"the machine was overloaded: {share:.0%} of its time the job waited for a core"
    return Reason(Cause.OVERLOAD, text)
