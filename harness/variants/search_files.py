"""The files and the text of a search: recipe, Pareto front as CSV and plot, sensitivity of each layer."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.core import commands
from harness.core.errors import UsageError
from harness.core.verdict import State
from harness.store.cache import write_atomically, writing
from harness.variants.search import SearchResult, most_sensitive, words
from harness.variants.trials import Trial

COLUMNS = (
    "name", "front", "accuracy", "loss_pt", "loss_ci_low", "loss_ci_high", "n", "size_byte", "gzip_byte",
    "speed_up", "speed_ci_low", "speed_ci_high", "sqnr_db", "holdout_changed", "recipe",
)  # fmt: skip
#: Files that a search writes.
FILES = ("recipe.toml", "pareto.csv", "pareto.png", "sensitivity.csv")


def front(trials: Sequence[Trial]) -> set[str]:
    """Return the names of the Pareto front of accuracy, gzip bytes and speed.

    A speed counts as better only if the intervals do not overlap; smaller differences are noise.
    """
    return {trial.name for trial in trials if not any(_dominates(other, trial) for other in trials)}


def _dominates(other: Trial, trial: Trial) -> bool:
    low, high = _speed(other)
    low_here, high_here = _speed(trial)
    if other.accuracy < trial.accuracy or other.gzip_byte > trial.gzip_byte or high < low_here:
        return False
    return other.accuracy > trial.accuracy or other.gzip_byte < trial.gzip_byte or low > high_here


def _speed(trial: Trial) -> tuple[float, float]:
    """Interval of the speed ratio; 1 for the float model itself."""
    return trial.speed.get("ci_low", 1.0), trial.speed.get("ci_high", 1.0)


def check_folder(folder: Path) -> None:
    """Raise if a folder contains files that no search wrote."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    others = sorted(set(names) - set(FILES))
    if others or (folder.exists() and not folder.is_dir()):
        raise UsageError(
            f"{folder} contains other files", where=", ".join(others[:3]),
            next_step="name another folder with -o",
        )  # fmt: skip


def write(folder: Path, result: SearchResult) -> bool:
    """Write all files.

    Parameters
    ----------
    folder : Path
    result : SearchResult

    Returns
    -------
    bool
        Whether the plot was written, which needs matplotlib.
    """
    trials = (*result.plain, *result.path)
    best = front(trials)
    with writing(folder):
        _write_csv(folder / "pareto.csv", COLUMNS, [_record(trial, best) for trial in trials])
        records = [
            {"layer": layer, "step": words(result.table.steps[level]), "sqnr_db": trial.sqnr_db,
             "size_byte": trial.size_byte, "gzip_byte": trial.gzip_byte}
            for (layer, level), trial in result.sensitivity.items()
        ]  # fmt: skip
        _write_csv(
            folder / "sensitivity.csv", ("layer", "step", "sqnr_db", "size_byte", "gzip_byte"), records
        )
        if result.best is not None:
            write_atomically(folder / "recipe.toml", recipe_toml(result).encode())
        if importlib.util.find_spec("matplotlib") is None:
            return False
        write_atomically(folder / "pareto.png", _picture(trials, best, result))
    return True


def recipe_toml(result: SearchResult) -> str:
    """Return the best recipe as TOML, for ``harness compress --recipe FILE`` and ``[variants.NAME]``."""
    best = result.best
    assert best is not None
    lines = [
        f"# {best.name} of harness search: loss {best.loss_pt.value:.2f} pt, at most "
        f"{best.loss_pt.high:.2f} pt; {best.size_byte} bytes, {best.gzip_byte} with gzip",
        "recipe = [",
    ]
    lines += [
        "  { " + ", ".join(f"{key} = {_toml(value)}" for key, value in step.items()) + " },"
        for step in best.recipe
    ]
    return "\n".join([*lines, "]", ""])


def text(result: SearchResult) -> str:
    """Return a table with one line per model, and the verdict."""
    trials = (*result.plain, *result.path)
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
    lines += ["* Pareto front: no other model is better in accuracy, gzip bytes and speed together", ""]
    if result.best is not None:
        lines.append(
            f"PASS   {result.best.name}: loss at most {result.best.loss_pt.high:.2f} pt, the budget is "
            f"{result.budget_pt:g} pt, {result.best.loss_pt.n} samples"
        )
    else:
        worst = ", ".join(f"{layer} {value:.1f} dB" for layer, value in most_sensitive(result))
        failed = result.state is State.FAIL
        which = "none of the candidates" if failed else "too few samples to show that a candidate"
        lines += [
            f"{result.state.value}   {which} is within {result.budget_pt:g} pt",
            f"  cause  the layers that lose most by their mildest step: {worst}",
            "  next   raise search.max_loss, use milder search.steps, or add test samples",
        ]
    return "\n".join(lines)


def written(folder: Path, result: SearchResult, model: Path, *, drawn: bool) -> str:
    """Return the names of the files, and the command that makes the best variant.

    Parameters
    ----------
    folder : Path
    result : SearchResult
    model : Path
        As it was given to the search.
    drawn : bool
        The plot was written.
    """
    names = ["pareto.csv", "sensitivity.csv"]
    if drawn:
        names.append("pareto.png")
    if result.best is not None:
        names.append("recipe.toml")
    lines = [f"  files  {', '.join(str(folder / name) for name in names)}"]
    if not drawn:
        lines.append(f"  note   no plot, which needs matplotlib: {commands.install('plot')}")
    if result.best is not None:
        recipe = commands.quoted(folder / "recipe.toml")
        variant = commands.quoted(folder.with_name(f"{folder.name}-variant"))
        lines.append(
            f"  next   {commands.harness()} compress {commands.quoted(model)} --recipe {recipe} -o {variant}"
        )
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
    """Return a value of a recipe as TOML; JSON writes strings, numbers, booleans and lists the same way."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)


def _picture(trials: Sequence[Trial], best: set[str], result: SearchResult) -> bytes:
    """Plot accuracy loss against gzip size with intervals and budget; colour is speed."""
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
    axes.axhline(result.budget_pt, linestyle="--", color="tab:red", label=f"budget {result.budget_pt:g} pt")
    for trial in trials:
        is_best = result.best is not None and trial.name == result.best.name
        labelled = trial in result.plain or is_best
        if labelled and trial.loss_pt.value < 2.5 * result.budget_pt:
            axes.annotate(
                trial.name, (trial.gzip_byte / 1e3, trial.loss_pt.value), xytext=(4, 6),
                textcoords="offset points", fontsize=8,
            )  # fmt: skip
    axes.set(
        xscale="log", xlabel="gzip kB", ylabel="accuracy loss, pt (90 % interval)",
        ylim=(min(trial.loss_pt.low for trial in trials) - 0.2, 2.5 * result.budget_pt),
        title="Candidates of the search; black rim: the Pareto front",
    )  # fmt: skip
    axes.xaxis.set_major_formatter(ticker.ScalarFormatter())
    axes.xaxis.set_minor_formatter(ticker.ScalarFormatter())
    axes.legend(loc="upper right")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120, metadata={"Software": None})
    pyplot.close(figure)
    return stream.getvalue()
