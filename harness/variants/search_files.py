"""What a search leaves: the frozen recipe, the Pareto front as CSV and picture, each layer's sensitivity."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.core.errors import UsageError
from harness.core.verdict import State
from harness.store.cache import write_atomically, writing
from harness.variants.search import Found, blame, words
from harness.variants.trials import Trial

COLUMNS = (
    "name", "front", "accuracy", "loss_pt", "loss_ci_low", "loss_ci_high", "n", "size_byte", "gzip_byte",
    "speed_up", "speed_ci_low", "speed_ci_high", "sqnr_db", "holdout_changed", "recipe",
)  # fmt: skip
#: What a search writes.
FILES = ("recipe.toml", "pareto.csv", "pareto.png", "sensitivity.csv")


def front(trials: Sequence[Trial]) -> set[str]:
    """Names of those that no other one beats in accuracy, gzip bytes and speed together.

    A speed counts as better only where the intervals part: the rest is the machine.
    """
    return {one.name for one in trials if not any(_beats(other, one) for other in trials)}


def _beats(other: Trial, one: Trial) -> bool:
    low, high = _speed(other)
    own_low, own_high = _speed(one)
    no_worse = other.accuracy >= one.accuracy and other.gzip_byte <= one.gzip_byte and high >= own_low
    return no_worse and (other.accuracy > one.accuracy or other.gzip_byte < one.gzip_byte or low > own_high)


def _speed(trial: Trial) -> tuple[float, float]:
    """Interval of the ratio; that of the float model to itself is 1."""
    return trial.speed.get("ci_low", 1.0), trial.speed.get("ci_high", 1.0)


def refuse_filled(folder: Path) -> None:
    """Raise where a folder holds something that a search did not write."""
    held = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    others = sorted(set(held) - set(FILES))
    if others or (folder.exists() and not folder.is_dir()):
        raise UsageError(
            f"{folder} holds something else already", where=", ".join(others[:3]),
            next_step="name another folder with -o",
        )  # fmt: skip


def write(folder: Path, found: Found) -> bool:
    """Write all files; whether the picture could be drawn.

    Parameters
    ----------
    folder : Path
    found : Found
    """
    trials = (*found.plain, *found.path)
    best = front(trials)
    with writing(folder):
        _write_csv(folder / "pareto.csv", COLUMNS, [_record(trial, best) for trial in trials])
        records = [
            {"layer": layer, "step": words(found.table.steps[level]), "sqnr_db": trial.sqnr_db,
             "size_byte": trial.size_byte, "gzip_byte": trial.gzip_byte}
            for (layer, level), trial in found.sensitivity.items()
        ]  # fmt: skip
        _write_csv(
            folder / "sensitivity.csv", ("layer", "step", "sqnr_db", "size_byte", "gzip_byte"), records
        )
        if found.best is not None:
            write_atomically(folder / "recipe.toml", recipe_toml(found).encode())
        if importlib.util.find_spec("matplotlib") is None:
            return False
        write_atomically(folder / "pareto.png", _picture(trials, best, found))
    return True


def recipe_toml(found: Found) -> str:
    """Freeze the best recipe, as ``harness compress --recipe FILE`` and ``[variants.NAME]`` take it."""
    assert found.best is not None
    lines = [
        f"# {found.best.name} of harness search: loss {found.best.loss_pt.value:.2f} pt, at most "
        f"{found.best.loss_pt.high:.2f} pt; {found.best.size_byte} bytes, {found.best.gzip_byte} with gzip",
        "recipe = [",
    ]
    lines += [
        "  { " + ", ".join(f"{key} = {_toml(value)}" for key, value in step.items()) + " },"
        for step in found.best.recipe
    ]
    return "\n".join([*lines, "]", ""])


def text(found: Found) -> str:
    """The front, one line a model, and the answer."""
    trials = (*found.plain, *found.path)
    best = front(trials)
    lines = [
        f"{'':2}{'model':<24}{'accuracy %':>10}{'loss pt [bound]':>18}{'kB':>8}{'gzip kB':>9}{'speed':>7}"
    ]
    for trial in trials:
        loss = f"{trial.loss_pt.value:.2f} [{trial.loss_pt.high:.2f}]"
        speed = f"{trial.speed['speed_up']:.2f}" if trial.speed else "1.00"
        lines.append(
            f"{'* ' if trial.name in best else '  '}{trial.name:<24}{100 * trial.accuracy:>10.2f}{loss:>18}"
            f"{trial.size_byte / 1e3:>8.1f}{trial.gzip_byte / 1e3:>9.1f}{speed:>7}"
        )
    lines += ["* no other model is better in accuracy, gzip bytes and speed together", ""]
    if found.best is not None:
        lines.append(
            f"PASS   {found.best.name}: loss at most {found.best.loss_pt.high:.2f} pt, the budget is "
            f"{found.budget_pt:g} pt, {found.best.loss_pt.n} samples"
        )
    else:
        worst = ", ".join(f"{layer} {value:.1f} dB" for layer, value in blame(found))
        said = "none of the candidates" if found.state is State.FAIL else "these samples cannot show that any"
        lines += [
            f"{found.state.value}   {said} is within {found.budget_pt:g} pt",
            f"  cause  the layers that cost most by their mildest step alone: {worst}",
            "  next   raise search.max_loss, give milder search.steps, or more test samples",
        ]
    return "\n".join(lines)


def written(folder: Path, found: Found, *, drawn: bool) -> str:
    """Say which files there are, and what can be done with them."""
    lines = [f"  files  {folder}/pareto.csv, sensitivity.csv" + ", recipe.toml" * (found.best is not None)]
    if not drawn:
        lines.append(
            "  note   no picture: pip install 'deployment-validation-harness[plot]' draws pareto.png"
        )
    if found.best is not None:
        lines.append(f"  next   harness compress --recipe {folder / 'recipe.toml'} -o DIR")
    return "\n".join(lines)


def _record(trial: Trial, best: set[str]) -> dict[str, Any]:
    return {
        "name": trial.name, "front": int(trial.name in best), "accuracy": trial.accuracy,
        "loss_pt": trial.loss_pt.value, "loss_ci_low": trial.loss_pt.low, "loss_ci_high": trial.loss_pt.high,
        "n": trial.loss_pt.n, "size_byte": trial.size_byte, "gzip_byte": trial.gzip_byte,
        "speed_up": trial.speed.get("speed_up", 1.0), "speed_ci_low": trial.speed.get("ci_low", ""),
        "speed_ci_high": trial.speed.get("ci_high", ""), "sqnr_db": trial.sqnr_db,
        "holdout_changed": trial.changed, "recipe": json.dumps(list(trial.recipe)),
    }  # fmt: skip


def _write_csv(path: Path, columns: Sequence[str], records: Sequence[Mapping[str, Any]]) -> None:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    write_atomically(path, stream.getvalue().encode())


def _toml(value: Any) -> str:  # noqa: ANN401 - what a recipe holds
    """A value of a recipe; JSON's strings, numbers, booleans and lists are TOML's, too."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(each)}" for key, each in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)


def _picture(trials: Sequence[Trial], best: set[str], found: Found) -> bytes:
    """Accuracy loss against gzip bytes, intervals and budget drawn in; colour is speed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    kilobyte = [trial.gzip_byte / 1e3 for trial in trials]
    loss = [trial.loss_pt.value for trial in trials]
    error = [
        [trial.loss_pt.value - trial.loss_pt.low for trial in trials],
        [trial.loss_pt.high - trial.loss_pt.value for trial in trials],
    ]
    axes.errorbar(kilobyte, loss, yerr=error, fmt="none", ecolor="0.75", zorder=1)
    drawn = axes.scatter(
        kilobyte, loss, c=[trial.speed.get("speed_up", 1.0) for trial in trials], cmap="viridis", zorder=2,
        edgecolors=["black" if trial.name in best else "none" for trial in trials],
    )  # fmt: skip
    figure.colorbar(drawn, label="speed, float32 = 1 (ONNX Runtime, one thread)")
    axes.axhline(found.budget_pt, linestyle="--", color="tab:red", label=f"budget {found.budget_pt:g} pt")
    for trial in trials:
        named = trial in found.plain or trial is found.best or trial.name == (found.best and found.best.name)
        if named and trial.loss_pt.value < 2.5 * found.budget_pt:
            axes.annotate(
                trial.name, (trial.gzip_byte / 1e3, trial.loss_pt.value), xytext=(4, 6),
                textcoords="offset points", fontsize=8,
            )  # fmt: skip
    axes.set(
        xscale="log", xlabel="gzip kB", ylabel="accuracy loss, pt (90 % interval)",
        ylim=(min(trial.loss_pt.low for trial in trials) - 0.2, 2.5 * found.budget_pt),
        title="Candidates of the search; black rim: the Pareto front",
    )  # fmt: skip
    axes.xaxis.set_major_formatter(ticker.ScalarFormatter())
    axes.xaxis.set_minor_formatter(ticker.ScalarFormatter())
    axes.legend(loc="upper right")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120, metadata={"Software": None})
    pyplot.close(figure)
    return stream.getvalue()
