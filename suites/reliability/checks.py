"""What every honest deployment holds about calls, files, claims and resources, as rows of this suite."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from harness.core.check import Check
from harness.core.job import DEPLOY, PARITY
from harness.core.profile import Profile
from harness.core.suite import CaseContext
from harness.core.verdict import Gate
from suites.reliability.deeper.checks import CHECKS as DEEPER

_gate = partial(Gate, suite="reliability")
#: Shares of tries that must all succeed.
_all = partial(_gate, minimum=1.0)

_REPEATS = (
    Check(
        _all("same-answer-repeated", metric="deterministic_repeat"),
        why="A model computes a function of its input: the same call in a session gives the same bytes.",
        failure="the answers differ when the same call is repeated",
        faults=("wrong-after-calls",),
    ),
    Check(
        _all("same-answer-any-order", metric="deterministic_order"),
        why="No sample depends on the ones before it: calls in another order give the same bytes, and no "
        "call returns the answer of the previous one.",
        failure="the answers differ with the order of the calls: one depends on the call before",
        faults=("stale-answer",),
    ),
    Check(
        _all("same-answer-fresh-session", metric="deterministic_session"),
        why="A session that was opened again computes the same function.",
        failure="the answers differ in a fresh session",
        faults=("fresh-session-differs",),
    ),
    Check(
        _all("same-answer-two-sessions", metric="deterministic_interleaved"),
        why="Sessions share nothing that an answer depends on: two that take turns give the same bytes.",
        failure="the answers differ while two sessions are open",
        faults=("wrong-with-two-sessions",),
    ),
    Check(
        _all("same-answer-fresh-process", metric="deterministic_process"),
        why="A fresh process computes the same function.",
        failure="the answers differ in a fresh process",
        faults=("fresh-process-differs",),
    ),
    Check(
        _all("same-answer-after-idle", metric="deterministic_idle"),
        why="A session that stayed open without a call while others came and went computes the same.",
        failure="the answers differ after the session was idle",
        faults=("wrong-after-idle",),
    ),
    Check(
        _all("result-stays", metric="result_unchanged"),
        why="The caller owns what a call returned: neither the next call nor anything later writes into it.",
        failure="an answer changes after it was returned: the next call, or something later, overwrites it",
        faults=("shared-buffer", "writes-later"),
    ),
    Check(
        _all("input-stays", metric="input_unchanged"),
        why="The caller owns its inputs: a call only reads them.",
        failure="the backend changed its input",
        faults=("changes-its-input",),
    ),
)
_BOUND = "explains, which is derived for each output of this model (docs/checks.md)."


def _sizes(suffix: str, setting: str) -> tuple[Check, ...]:
    return (
        Check(
            _gate(
                f"same-answer-any-batch{suffix}", metric="batch_max_over_rounding", maximum=1.0,
                setting=setting,
            ),
            why="The answer to a sample does not depend on the samples beside it, up to what rounding in the "
            f"declared precision {_BOUND}",
            failure="the answers differ with the batch size",
            faults=("wrong-at-one-batch", "wrong-above-batch", "depends-on-position"),
        ),
        Check(
            _gate(
                f"same-answer-any-threads{suffix}", metric="thread_max_over_rounding", maximum=1.0,
                setting=setting,
            ),
            why="Threads share out the same sums: another number of them changes no more than rounding in "
            f"the declared precision {_BOUND}",
            failure="the answers differ with the number of threads",
            faults=("wrong-with-threads",),
        ),
    )  # fmt: skip


def _is_not_emulated(context: CaseContext) -> bool:
    return not context.emulated


def _computes_floats(context: CaseContext) -> bool:
    """Files of integers have no NaN, and their answers are steps, which tell no float precision."""
    return not context.quantized


_SIZES = (
    *_sizes("", DEPLOY),
    *(replace(check, applies=_is_not_emulated) for check in _sizes("-parity", PARITY)),
)


def _forms(suffix: str, setting: str) -> tuple[Check, ...]:
    return (
        Check(
            _gate(
                f"same-answer-any-layout{suffix}", metric="layout_max_over_rounding", maximum=1.0,
                setting=setting,
            ),
            why="A caller's array may be a part of another one, lie in the order of Fortran, or be "
            "read-only: it is read as it says, or refused. The answers differ by no more than rounding "
            f"{_BOUND}",
            failure="the answers differ with the memory layout of the input: strides are ignored",
            faults=("ignores-strides",),
        ),
        Check(
            _gate(
                f"same-answer-bound{suffix}", metric="bound_max_over_rounding", maximum=1.0, setting=setting
            ),
            why="The bound call, which is timed, computes what run computes, up to what rounding in the "
            f"declared precision {_BOUND}",
            failure="the bound call answers otherwise than run",
            faults=("bound-call-differs",),
        ),
    )  # fmt: skip


_FORMS = (
    Check(
        _all("same-answer-as-runtime", metric="runtime_equal"),
        why="The backend passes on what the runtime that it loads computes with the same settings: every "
        "number, of rows alone, of a batch, and of inputs that are not finite.",
        failure="the answers are not the numbers of the runtime that the backend loads: it changes them, or "
        "opens the model with settings that nobody asked for",
        faults=("one-step-in-ten", "clips-infinity", "last-bit"),
        applies=_is_not_emulated,
    ),
    *_forms("", DEPLOY),
    *(replace(check, applies=_is_not_emulated) for check in _forms("-parity", PARITY)),
)
_REFUSALS = (
    Check(
        _all("bad-input-refused", metric="bad_input_refused"),
        why="A wrong shape, dtype or name is refused: an answer to it would be an answer to nothing.",
        failure="the backend accepts bad input",
        faults=("accepts-shape", "accepts-dtype", "accepts-missing", "casts-float64"),
    ),
    Check(
        _all("recovers", metric="recovered_after_*"),
        why="After a refused input, NaN or a damaged file, a correct call gives the same bytes as before.",
        failure="a correct call no longer gives the same answer after a wrong one",
        faults=("spoiled-by-refusal",),
    ),
    Check(
        _gate("nan-not-swallowed", metric="nan_taken_as_zero", maximum=0.5),
        why="Inputs of NaN alone may be refused, or answered with NaN, or with what the layers make of it; "
        "answers that are bit for bit those to zeros come from inputs that somebody replaced. A model that "
        "does so by its own operators, and integers, are left out.",
        failure="NaN in the inputs is swallowed: it is taken as zero",
        faults=("swallows-nan",),
        applies=_computes_floats,
    ),
    Check(
        _all("truncated-file-refused", metric="truncation_refused"),
        why="A model file that was cut has lost its weights or its end: no runtime can open it.",
        failure="a truncated copy of the model file is opened",
        faults=("opens-truncated-file",),
    ),
    Check(
        _all("damaged-file-noticed", metric="scrambled_file_noticed"),
        why="A copy with other bytes everywhere but at its head is refused or answers otherwise: else "
        "another file than the given one is open.",
        failure="a damaged copy of the model file answers like the whole one: another file is open",
        faults=("opens-flipped-file",),
    ),
    Check(
        _all("hash-catches-damage", metric="hash_catches_damage"),
        why="The hash of a file changes with each of its bits.",
        failure="a damaged copy of the model file has the hash of the whole one",
        faults=("hash-from-a-cache",),
    ),
)

_CLAIMS = (
    Check(
        _all("reports-what-it-uses", metric="effective_reported"),
        why="A session reports provider, precision and threads: what it does not report, nothing confirms.",
        failure="the session does not report what it uses",
        faults=("reports-no-precision",),
    ),
    Check(
        _all("provider-confirmed", metric="provider_confirmed"),
        why="The provider that a session reports has its library in the process, and a GPU's has memory or a "
        "device file of the driver. Where nothing outside the runtime tells, it is unconfirmed.",
        failure="the provider that is claimed is not in use",
        faults=("claims-cuda", "claims-other-provider"),
    ),
    Check(
        _gate("nodes-on-provider", metric="time_on_provider", minimum=0.5),
        why="Where the runtime's profile names the provider of each node, those of the one that is reported "
        "take most of the time; a smaller share is a fallback.",
        failure="the provider that is claimed does not run the model: the nodes ran on another one",
        faults=("claims-cuda", "claims-other-provider"),
    ),
    Check(
        _all("version-confirmed", metric="version_confirmed"),
        why="The version that a backend reports is that of an installed distribution whose library is in the "
        "process, or of its own. Where none is installed beside the library, it is unconfirmed.",
        failure="the version that is claimed is not in use",
        faults=("claims-version",),
    ),
    Check(
        _all("threads-confirmed", metric="threads_confirmed"),
        why="No more threads use CPU time (5 % of it or more) during calls than the session reports.",
        failure="more threads compute than are claimed",
        faults=("claims-threads",),
    ),
    Check(
        _all("precision-confirmed", metric="precision_confirmed"),
        why="Answers that are all float16 or bfloat16 numbers, or that do not follow a change of the inputs "
        "by 2^-13 of their values, were not computed in float32.",
        failure="the precision that is claimed is not in use",
        faults=("claims-precision", "float16", "bfloat16"),
        applies=_computes_floats,
    ),
    Check(
        _all("precision-confirmed-parity", metric="precision_confirmed", setting=PARITY),
        why="The setting that numbers are compared in is float32, shown by the numbers.",
        failure="the precision that is claimed is not in use",
        faults=("claims-precision", "float16", "bfloat16"),
        applies=_computes_floats,
    ),
)

#: Leaks of a session are larger: its weights alone.
_LARGEST_GROWTH_BYTE = 256 * 1024.0
_growth = partial(_gate, on_inconclusive="warn", cases=("reload",))
_RESOURCES = (
    Check(
        _growth("no-memory-growth-by-reload", metric="reload_memory_growth", maximum=_LARGEST_GROWTH_BYTE),
        why="A closed session gives its memory back: Theil and Sen's slope over reloads, after warm-up, is "
        "below 262,144 bytes a reload with its whole interval (measured: at most 4,000 where there were 60 "
        "reloads or more, 50,000 with its interval up to 175,000 where there were 7).",
        failure="memory grows with every reload",
        faults=("leak-per-session",),
        applies=_is_not_emulated,
    ),
    Check(
        _growth("no-descriptor-growth-by-reload", metric="reload_descriptor_growth", maximum=0.1),
        why="A closed session closes its files: the slope over reloads is none.",
        failure="file descriptors stay open after every reload",
        faults=("descriptors-per-session",),
    ),
    Check(
        _growth("no-thread-growth-by-reload", metric="reload_thread_growth", maximum=0.1),
        why="A closed session ends its threads: the slope over reloads is none.",
        failure="threads stay after every reload",
        faults=("threads-per-session",),
    ),
    Check(
        _growth("no-file-growth-by-reload", metric="reload_file_growth", maximum=0.1),
        why="A session deletes the temporary files that it makes: the slope over reloads is none.",
        failure="temporary files stay after every reload: they fill the disk",
        faults=("files-per-session",),
    ),
    Check(
        _all("same-answer-reloaded", metric="deterministic_reload", cases=("reload",)),
        why="The last of many sessions that were opened and closed in a process answers as the first did.",
        failure="the answers differ after the model was reloaded",
        faults=("wrong-after-reloads",),
    ),
    Check(
        _all("process-state-stays", metric="process_state_unchanged"),
        why="The working folder, the environment, handlers of signals, the rounding mode of floats, the "
        "locale, random numbers, limits and standard output belong to the whole program: opening, running "
        "and closing a model leaves them as they are.",
        failure="the backend changed the state of the process",
        faults=(
            "changes-working-folder",
            "changes-environment",
            "changes-signals",
            "changes-rounding",
            "changes-locale",
            "prints-to-stdout",
        ),
    ),
    Check(
        _all("clean-exit", metric="process_exit_clean"),
        why="A process that opened, ran and closed the model ends with exit status 0, and no process that it "
        "started outlives it.",
        failure="the process does not end cleanly: it crashed at exit, or a child outlives it",
        faults=("crash-at-exit", "child-outlives"),
    ),
    Check(
        _all("same-file", metric="artifact_hash_equal", cases=("determinism", "provenance")),
        why="The file that was opened has the recorded hash at the end too, and in every fresh process.",
        failure="the model file is another one than at the start",
        faults=("file-replaced",),
    ),
)


def _is_soak(context: CaseContext) -> bool:
    return context.profile is Profile.SOAK


def _is_timed_soak(context: CaseContext) -> bool:
    return _is_soak(context) and not context.emulated


_soak = partial(_gate, cases=("soak",))
#: Judged by times: a short soak, or a machine that is disturbed, leaves them open, and blocks nothing.
_timed_soak = partial(_soak, on_inconclusive="warn")
_SOAK = (
    Check(
        _soak("soak-no-crash", metric="soak_crashes", maximum=0.0),
        why="A process that only calls the model does not end by itself, and the kernel does not end it "
        "because memory ran out. A soak that was continued after it still counts it.",
        failure="the process died during a soak",
        applies=_is_soak,
    ),
    Check(
        _soak("soak-no-error", metric="soak_errors", maximum=0.0),
        why="Calls with good inputs succeed, and sessions open, however long the process has been running; "
        "the sentence says what their number proves.",
        failure="calls fail after a while",
        faults=("fails-sometimes",),
        applies=_is_soak,
    ),
    Check(
        _soak("soak-same-answer", metric="soak_wrong_answers", maximum=0.0),
        why="The answer to an input is the same in every call of a long run, and in every process of it.",
        failure="a call of a long run gave a wrong answer",
        faults=("one-wrong-answer",),
        applies=_is_soak,
    ),
    Check(
        _timed_soak(
            "soak-no-memory-growth", metric="soak_memory_growth_at_least", maximum=50.0, maximum_unit="byte"
        ),
        why="A call gives back what it takes. The growth counts where the whole process and the calls alone "
        "show it in each part of the soak, beyond 2 MB that an allocator may take once.",
        failure="the backend leaks memory",
        faults=("leak-per-call",),
        applies=_is_timed_soak,
    ),
    Check(
        _soak("soak-no-descriptor-growth", metric="soak_descriptor_growth_at_least", maximum=0.0),
        why="Calls and closed sessions leave no file open, in either half of the soak.",
        failure="file descriptors stay open",
        faults=("descriptors-per-session",),
        applies=_is_timed_soak,
    ),
    Check(
        _soak("soak-no-thread-growth", metric="soak_thread_growth_at_least", maximum=0.0),
        why="Calls and closed sessions end the threads that they start, in each half of the soak.",
        failure="threads stay",
        faults=("threads-per-session",),
        applies=_is_timed_soak,
    ),
    Check(
        _timed_soak("soak-no-stalls", metric="soak_stalls_at_least", maximum=2e-4),
        why="A call that takes ten times as long as the others while the machine runs the process waits for "
        "the backend itself. Stalls count without the fifth of the soak that has most of them.",
        failure="calls stall",
        faults=("stall",),
        applies=_is_timed_soak,
    ),
    Check(
        _timed_soak("soak-no-growth-with-uptime", metric="soak_uptime_growth_at_least", maximum=0.05),
        why="A session's calls take as long after an hour as after a minute. Those of a fresh session take "
        "turns with them: heat and other programs slow both.",
        failure="the latency grows with uptime",
        faults=("slower-with-uptime",),
        applies=_is_timed_soak,
    ),
)

CHECKS = (*_REPEATS, *_SIZES, *_FORMS, *_REFUSALS, *_CLAIMS, *_RESOURCES, *_SOAK, *DEEPER)
