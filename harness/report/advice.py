"""The end of a run besides its numbers: what did not pass, what was not tested, the next command."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness import tasks
from harness.config.folders import shipped_folder
from harness.config.gates import GateTable
from harness.config.load import check, validation_file
from harness.config.targets import load_target, target_files
from harness.config.validation import FLOAT32
from harness.core import commands
from harness.core.cause import Cause
from harness.core.commands import short
from harness.core.errors import HarnessError
from harness.core.exit_code import ExitCode
from harness.core.job import Status
from harness.core.plan import CARD
from harness.core.profile import Profile
from harness.core.suite import SupportsRounds
from harness.core.verdict import CHECK, GATE, Gate, State, Verdict
from harness.device import plugins
from harness.executors.abilities import abilities_of
from harness.run import availability, int8_trials
from harness.run.outcome import Outcome
from harness.run.selection import load_suites
from harness.run.summarise import UNCONFIRMED

#: So many gates are named where several keep a run from passing.
NAMED_GATES = 4


def problems(outcome: Outcome) -> list[tuple[State, str]]:
    """One line for each gate that did not pass; gates with one cause share a line."""
    quiet = (State.PASS, State.NOT_APPLICABLE)
    not_passed = [v for v in outcome.verdicts if v.state not in quiet and v.counts]
    lines = []
    for verdicts in _folded(sorted(not_passed, key=lambda v: v.state.rank), State.NOT_RUN):
        waived = verdicts[0].waived
        mark = "" if verdicts[0].blocks else f" (waived {waived})" if waived else " (does not block)"
        lines.append((verdicts[0].state, _sentence(verdicts) + mark))
    return lines


def not_tested(outcome: Outcome) -> list[str]:
    """What was not tested, although the reader may expect it."""
    unavailable = {(target, backend) for target, backend, _ in outcome.plan.unavailable}  # a problem
    reasons: dict[str, dict[str, None]] = {}
    skipped = set()
    for result in outcome.plan.skipped:
        key = result.key
        is_a_problem = result.status is Status.ERROR or (key.target, key.backend) in unavailable
        if not is_a_problem:
            skipped.add((key.target, key.backend, key.variant))
            where = reasons.setdefault(result.reason.partition("\n")[0], {})
            where[f"{key.variant} on {key.target}"] = None
    for row in outcome.rows:
        if row.measurement.status is Status.SKIPPED and row.measurement.cause is Cause.RUNTIME_REFUSED:
            skipped.add((row.key.target, row.key.backend, row.key.variant))
            where = reasons.setdefault(row.measurement.reason.partition("\n")[0], {})
            where[f"{row.key.variant} on {row.key.target}"] = None
    lines = [f"{', '.join(where)}: {reason}" for reason, where in reasons.items()]
    never = [
        v
        for v in outcome.verdicts
        if v.state is State.NOT_APPLICABLE and (v.target, v.backend, v.variant) not in skipped
    ]
    lines += [_sentence(verdicts) for verdicts in _folded(never, State.NOT_APPLICABLE)]
    undecided = list(dict.fromkeys(v.gate for v in outcome.verdicts if not v.counts))
    if undecided:
        lines.append(f"{', '.join(undecided)}: undecided, with these samples or on this machine")
    absent = []
    if not {row.identity.get("arch", "") for row in outcome.rows} & {"aarch64", "armv7l", "arm64"}:
        absent.append("ARM")
    providers = {str(row.identity.get("provider", "")) for row in outcome.rows}
    if not any("CUDA" in provider and UNCONFIRMED not in provider for provider in providers):
        absent.append("GPU")
    if outcome.run["emulated"]:
        lines.insert(0, f"real hardware: {', '.join(outcome.run['emulated'])} emulated")
    if outcome.run.get("profile") != Profile.SOAK:
        absent += ["heat", "sustained load"]
    return [*lines, *([", ".join(absent)] if absent else [])]


def _folded(verdicts: Iterable[Verdict], state: State) -> list[list[Verdict]]:
    """Those in `state` joined by cause (the end of their sentence), and what blocks by target too."""
    groups: dict[Any, list[Verdict]] = {}
    for index, verdict in enumerate(verdicts):
        cause = _cause(verdict)
        target = "" if state is State.NOT_APPLICABLE else verdict.target
        key = (target, verdict.blocks, verdict.waived, cause) if verdict.state is state else index
        groups.setdefault(key, []).append(verdict)
    return list(groups.values())


def _sentence(verdicts: list[Verdict]) -> str:
    first = verdicts[0]
    if len(verdicts) == 1:
        return f"{first.gate}: {first.sentence}"
    variants = ", ".join(dict.fromkeys(verdict.variant for verdict in verdicts))
    targets = ", ".join(dict.fromkeys(verdict.target for verdict in verdicts))
    names = list(dict.fromkeys(verdict.gate for verdict in verdicts))
    if len(names) == 1:
        return f"{names[0]}: {variants} on {targets}: {_cause(first)}"
    what = " and ".join(f"{kind}s" for kind in dict.fromkeys(verdict.kind for verdict in verdicts))
    return f"{len(names)} {what} of {variants} on {targets}: {_cause(first)}"


def _cause(verdict: Verdict) -> str:
    """The end of a sentence: after the variant and target, and after what was not measured.

    What a runtime says may have colons of its own, a web address among them.
    """
    return verdict.sentence.split(": ", 2)[-1]


def next_step(outcome: Outcome) -> str:
    """The command, or the change, that helps most after this outcome."""
    run = outcome.run
    command = commands.harness()
    blocking = sorted((v for v in outcome.verdicts if v.blocks), key=lambda v: v.state.rank)
    targets = ",".join(run["targets"])
    if outcome.missing:
        text = f"{command} validate --resume {_run_name(outcome)}"
    elif outcome.state is State.PASS:
        text = _after_a_pass(outcome, run, command)
    elif all(verdict.kind == CHECK for verdict in outcome.verdicts):
        text = f"add a [[gate]] to {short(Path(run['validation_path']))}"
    elif outcome.state is State.INCONCLUSIVE and outcome.plan.share < 1:
        text = f"{command} validate {_selection(outcome, run, targets)}   # all samples: no budget"
    elif outcome.state is State.INCONCLUSIVE:
        text = _after_undecided(outcome, run, command, blocking[0])
    elif outcome.state is State.NOT_RUN and outcome.plan.unavailable:
        text = f"{command} targets   # how to install what is missing"
    elif outcome.state is State.NOT_RUN and run.get("release") and _worst_is_emulated(blocking, run):
        text = f"real hardware in place of {blocking[0].target}: --host USER@BOARD, or a target over ssh"
    elif outcome.state is State.NOT_RUN and blocking and (missing := _what_is_missing(outcome, blocking[0])):
        text = f"{command} {missing}"
    elif outcome.state is State.FAIL:
        text = _after_a_failure(outcome, run, command, blocking[0])
    elif blocking:
        worst = blocking[0]
        text = f"{command} validate {_selection(outcome, run, worst.target, worst)}   # measures it again"
    else:
        text = _after_nothing_applied(outcome, run, command)
    return text


def _after_a_failure(outcome: Outcome, run: Mapping[str, Any], command: str, worst: Verdict) -> str:
    """A command that shows where the gate's rows went wrong, or that finds a variant that holds."""
    gate, name = _gate(run, worst), _run_name(outcome)
    if gate is not None and gate.baseline:
        options = f"{name} --name {gate.baseline} --target {worst.target}{_results_option(outcome)}"
        return f"{command} baseline diff {options}   # every row against the accepted run"
    others = [
        v.target
        for v in outcome.verdicts
        if (v.gate, v.variant) == (worst.gate, worst.variant) and v.state is State.PASS
    ]
    if others and len(run["targets"]) > 1:
        passing = f"the gate passes on {', '.join(dict.fromkeys(others))}"
        return f"{command} compare {name} --devices{_results_option(outcome)}   # {passing}"
    recipe = run.get("validation", {}).get("variants", {}).get(worst.variant, {}).get("recipe")
    if gate is not None and recipe and _is_lost_in_compression(outcome, gate, worst):
        other, figures = int8_trials.advice(outcome.folder.path, worst.variant)
        if other:
            validation = short(Path(run["validation_path"]))
            return f"in {validation} [variants.{worst.variant}] recipe = {other}   # {figures}"
        task = run["model"]["task"]
        if task in tasks.names() and tasks.named(task).has_classes:  # search has no other metric
            model = "" if _is_bundled(run) else f"{_model_argument(run)} "
            return f"{command} search {model}-o search   # finds the layers that lose it, and a recipe"
    if worst.kind == CHECK:
        return f"{command} checks {worst.gate}   # what it demands, why, and how to relax it"
    return f"{report_command(outcome)}   # every row of the gate, with its interval"


def _is_lost_in_compression(outcome: Outcome, gate: Gate, worst: Verdict) -> bool:
    """Whether the gate limits a difference from the float model."""
    return any(
        row.measurement.reference.startswith(f"{FLOAT32}@") and gate.looks_at(row)
        for row in outcome.rows
        if (row.key.target, row.key.variant) == (worst.target, worst.variant)
    )


def _after_nothing_applied(outcome: Outcome, run: Mapping[str, Any], command: str) -> str:
    """What to do for a target to which no gate applies, or after an error that no gate looks at."""
    targets = _without_applying_gate(outcome)
    if not targets:
        return f"{report_command(outcome)}   # the rows with an error"
    if all(target in run["emulated"] for target in targets):
        return f"real hardware in place of {', '.join(targets)}: --host USER@BOARD, or a target over ssh"
    return (
        f"{command} plan {_selection(outcome, run, ','.join(targets))}   # which gates can be decided there"
    )


def _without_applying_gate(outcome: Outcome) -> list[str]:
    """Targets for which every gate is NOT_APPLICABLE."""
    states: dict[str, set[State]] = {}
    for verdict in (verdict for verdict in outcome.verdicts if verdict.kind == GATE):
        states.setdefault(verdict.target, set()).add(verdict.state)
    return [target for target, its_states in states.items() if its_states == {State.NOT_APPLICABLE}]


def why_not_measured(outcome: Outcome) -> str:
    """Why a run ends with exit code 3, in one sentence; empty for every other code."""
    if outcome.exit_code is not ExitCode.NOT_MEASURED:
        return ""
    blocking = sorted((v for v in outcome.verdicts if v.blocks), key=lambda v: v.state.rank)
    if blocking:
        gates = list(dict.fromkeys(verdict.gate for verdict in blocking))
        more = ", …" if len(gates) > NAMED_GATES else ""
        states = " or ".join(dict.fromkeys(verdict.state.value for verdict in blocking))
        what = "gates" if all(verdict.kind == GATE for verdict in blocking) else "gates or checks"
        return f"{what} that block are {states}: {', '.join(gates[:NAMED_GATES])}{more}"
    if outcome.missing:
        jobs = "1 job was" if outcome.missing == 1 else f"{outcome.missing} jobs were"
        return f"{jobs} not measured"
    if any(row.measurement.status is Status.ERROR for row in outcome.rows):
        return "a case ended in an error, and no gate looks at it"
    if all(verdict.kind == CHECK for verdict in outcome.verdicts):
        return "no gate was judged, so nothing has passed"
    targets = ", ".join(_without_applying_gate(outcome))
    cause = _cause(next(v for v in outcome.verdicts if v.state is State.NOT_APPLICABLE))
    return f"no gate applies to {targets}, so it has not passed: {cause}"


def _after_undecided(outcome: Outcome, run: Mapping[str, Any], command: str, worst: Verdict) -> str:
    """More time where time gives more samples; else more samples, or another question."""
    gate, validation = _gate(run, worst), short(Path(run["validation_path"]))
    other = f'in {validation} another limit, or on_inconclusive = "warn"'
    if gate is not None and gate.of != "value" and not gate.design and worst.unit == "x":
        return f'in {validation} design = "side-by-side" for {worst.gate!r}: both are then timed side by side'
    by_design = gate is not None and bool(gate.design)
    if not by_design and not isinstance(load_suites((worst.suite,))[worst.suite], SupportsRounds):
        return f"more test samples; or {other}"
    within_s = run.get("decide_within_s")
    within = 10 if within_s is None else math.ceil(2 * within_s / 60)
    selection = _selection(outcome, run, worst.target, worst)
    return f"{command} validate {selection} --decide-within {within}m   # measures until it is decided"


def _what_is_missing(outcome: Outcome, worst: Verdict) -> str:
    """What to type where the gate has nothing to be judged by: no baseline, or no such case; else empty."""
    run, gate = outcome.run, _gate(outcome.run, worst)
    if gate is None:
        return ""
    if gate.baseline:
        from harness.gates import baselines  # takes pandas, and a second

        results, model = outcome.folder.path.parent, run["model"]["name"]
        if not baselines.place(results, model, worst.target, gate.baseline).exists():
            save = f"baseline save {_run_name(outcome)} --name {gate.baseline} --reason WHY"
            return f"{save}   # or, instead of this run, the one that was released"
    jobs = [job.key for batch in outcome.plan.batches for job in batch.jobs]
    of_variant = [key for key in jobs if (key.target, key.variant) == (worst.target, worst.variant)]
    if gate.suite == CARD or gate.design or any(gate.looks_at_job(key) for key in of_variant):
        return ""
    return f"plan {_selection(outcome, run, worst.target)}   # which cases there are"


def _gate(run: Mapping[str, Any], verdict: Verdict) -> Gate | None:
    """The gate as it held there; None where the run does not tell."""
    tables = run.get("validation", {}).get("gate", ())
    table = next((table for table in tables if table["name"] == verdict.gate), None)
    if table is None:
        return None
    return check(table, GateTable, where=run["validation_path"]).to_gate().on(verdict.target)


def report_command(outcome: Outcome) -> str:
    """The command that writes the run as a page."""
    return f"{commands.harness()} report {_run_name(outcome)}"


def _worst_is_emulated(blocking: list[Verdict], run: Mapping[str, Any]) -> bool:
    return bool(blocking) and blocking[0].target in run["emulated"]


def _after_a_pass(outcome: Outcome, run: Mapping[str, Any], command: str) -> str:
    others = [name for name in _ready() if name not in run["targets"]]
    if others:
        return f"{command} validate {_selection(outcome, run, ','.join([*run['targets'], *others]))}"
    if _is_bundled(run):
        return f"{command} init MODEL.onnx --data FOLDER   # a model of your own"
    return f"python -c \"import harness; print(harness.load('{_run_name(outcome)}'))\""


def _ready() -> list[str]:
    """Targets that need no special hardware, one for each runtime; whether it loads is for a run to say."""
    names: dict[tuple[str, ...], str] = {}
    backends = plugins.catalogue(plugins.BACKENDS)
    for name in sorted(target_files(), key=len):  # `tflite` before `tflite-reference`
        try:
            target = load_target(name)
            abilities = abilities_of(target)
        except HarnessError:
            continue  # `harness targets` says what is wrong with it
        is_here = abilities.shares_python and not abilities.emulated
        local = is_here and target.deploy.provider not in availability.GPU_PROVIDERS
        if local and all(backend in backends for backend in target.backends):
            names.setdefault(target.backends, name)
    return sorted(names.values())


def _selection(outcome: Outcome, run: Mapping[str, Any], target: str, verdict: Verdict | None = None) -> str:
    """Options that select `target` again, or what one verdict is about."""
    options = [f"--target {','.join(map(_asked_as, target.split(',')))}"]
    if not _is_bundled(run):
        options.append(f"--model {_model_argument(run)}")
    if outcome.run.get("profile", Profile.QUICK) != Profile.QUICK:
        options.append(f"--profile {outcome.run['profile']}")
    if soak_s := outcome.run.get("soak_s"):
        options.append(f"--duration {soak_s:g}s")
    if verdict is not None:
        options += [f"--variant {verdict.variant}", f"--suite {verdict.suite}"]
    elif run.get("release"):  # a part is no release
        options.append("--release")
    return " ".join(options) + _results_option(outcome)


def _model_argument(run: Mapping[str, Any]) -> str:
    file = Path(run["validation_path"])
    return shlex.quote(short(file.parent if file.name == "validation.toml" else file))


def _results_option(outcome: Outcome) -> str:
    folder = outcome.folder.path.parent
    return "" if folder == Path("results").resolve() else f" --results {shlex.quote(short(folder))}"


def _asked_as(name: str) -> str:
    """What a target is called on the command line: one that stands in for a board has no file of its own."""
    files = target_files()
    for file in files if name not in files else ():
        with suppress(HarnessError):  # `harness targets` says what is wrong with it
            if load_target(file).name == name:
                return file
    return name


def _is_bundled(run: Mapping[str, Any]) -> bool:
    digits = shipped_folder("models") / "digits"
    return Path(run["validation_path"]) == validation_file(digits).resolve()


def _run_name(outcome: Outcome) -> str:
    """Its id is enough where runs are looked for by default."""
    path = outcome.folder.path
    return path.name if path.parent == Path("results").resolve() else short(path)
