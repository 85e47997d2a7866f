"""What a challenge came to, for people: what was caught and by whom, what was missed, what can be seen."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from harness.challenge.answers import Answer, Result, ending, score
from harness.challenge.command import Challenge
from harness.core.columns import aligned
from harness.core.exit_code import ExitCode
from harness.core.verdict import State
from harness.report.progress import duration

#: So many gates that block without a fault are named; the stored run has all.
SHOWN = 5
COLOURS = {
    State.PASS: "green",
    State.FAIL: "bold red",
    State.INCONCLUSIVE: "yellow",
    State.NOT_RUN: "magenta",
}


def show(done: Challenge, console: Console) -> ExitCode:
    """Print the tables, the smallest effects and the score; the exit code."""
    for line in lines(done):
        console.print(Text(line), soft_wrap=True)
    state, code = ending(done.answers)
    console.print(Text(f"{state.value:<13}", style=COLOURS[state]).append(score_text(done), style="default"))
    console.print(f"verdict: {state.value} ({code})", highlight=False)
    return code


def lines(done: Challenge) -> list[str]:
    """Everything above the last two lines."""
    about, answers = done.about, done.answers
    variants = ", ".join(about["variants"])
    count = f"{len(answers)} faults" if len(answers) != 1 else "1 fault"
    where = f"{about['model']['name']} ({variants}) on {about['target']} ({about['backend']})"
    text = [f"{count} planted in {where}, {duration(done.seconds)}", ""]
    caught = [answer for answer in answers if answer.result is Result.CAUGHT]
    if caught:
        text += [*aligned([("caught", "by", "what it says"), *map(_caught, caught)]), ""]
    for result, title, column in (
        (Result.MISSED, "NOT caught", "what would see it"),
        (Result.BELOW, "too small", "why"),
        (Result.UNDECIDED, "undecided", "why"),
        (Result.NOT_PLANTED, "not planted", "why"),
    ):
        some = [answer for answer in answers if answer.result is result]
        if some:
            rows = [
                (title, "what is wrong", column),
                *((a.fault.name, a.fault.text(), a.would) for a in some),
            ]
            text += [*aligned(rows), ""]
    by_reason: dict[str, list[str]] = {}
    for name, why in done.left_out.items():
        by_reason.setdefault(why, []).append(name)
    text += [f"{'left out':<13} {', '.join(names)}: {why}" for why, names in by_reason.items()]
    if done.blocking:
        names = ", ".join(done.blocking[:SHOWN])
        names += f" and {len(done.blocking) - SHOWN} more" * (len(done.blocking) > SHOWN)
        text.append(f"{'note':<13} blocks without a fault, and can show none: {names}")
    if done.effects:
        seen = " · ".join(effect.text for effect in done.effects)
        text.append(f"{'you would see':<13} {seen}   (95 % power)")
    text.append(f"{'facts':<13} {done.folder.path}")
    return [*text, ""]


def _caught(answer: Answer) -> tuple[str, str, str]:
    caught = answer.catch
    assert caught is not None
    who = f"{caught.kind} {caught.name}" if caught.kind != "error" else caught.name
    mark = "" if caught.named else "   (does not name the fault)"
    return answer.fault.name, who, f"{caught.sentence}{mark}"


def score_text(done: Challenge) -> str:
    """How many faults were caught, named and missed."""
    counts = score(done.answers)
    decided = counts[Result.CAUGHT] + counts[Result.MISSED]
    named = sum(answer.catch is not None and answer.catch.named for answer in done.answers)
    text = f"caught {counts[Result.CAUGHT]} of {decided}, {named} named · missed {counts[Result.MISSED]}"
    for result in (Result.BELOW, Result.UNDECIDED, Result.NOT_PLANTED):
        if counts[result]:
            text += f" · {result.value} {counts[result]}"
    return text
