"""``harness search``: find the smallest model within an accuracy budget, layer by layer; write its recipe.

Calibration data decide which layer is compressed next (the noise it adds at the output for each byte it
saves); a held-out part of them decides where to stop. Test data only verify, as a fixed sequence of
hypotheses: the candidates are tested from the mildest to the most aggressive, each at one-sided 5 %, until
one does not pass; the last that passed is the result. The order is fixed before any test sample is used, so
the chance that the result exceeds the budget is at most 5 % without a correction (W. Maurer,
L. Hothorn and W. Lehmacher, "Multiple comparisons in drug clinical trials and preclinical assays: a-priori
ordered hypotheses", 1995).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness import tasks
from harness.config.fields import to_limit
from harness.config.schema import SearchTable
from harness.core import commands
from harness.core.errors import ModelError, UsageError
from harness.core.verdict import State
from harness.variants.trials import PT, Recipe, Trial, Trials
from harness.variants.workspace import Progress, find_validation, open_workspace

#: At most so many candidates are verified, evenly spread along the path.
VERIFIED = 24


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The result of a search.

    Parameters
    ----------
    state : State
        PASS: ``best`` is within the budget; FAIL: the mildest candidate exceeds it; INCONCLUSIVE: there are
        too few test samples to decide.
    best : Trial, optional
    budget_pt : float
    path : tuple of Trial
        Verified candidates from mild to aggressive, up to the first that did not pass.
    plain : tuple of Trial
        float32, int8, and each step applied to all layers.
    sensitivity : mapping of (layer, step index) to Trial
        Trials of one step on one layer.
    """

    state: State
    best: Trial | None
    budget_pt: float
    path: tuple[Trial, ...]
    plain: tuple[Trial, ...]
    sensitivity: Mapping[tuple[str, int], Trial]
    table: SearchTable


def search(model: Path, progress: Progress = lambda text: None) -> SearchResult:
    """Search for the smallest model within the budget of ``[search]``.

    Parameters
    ----------
    model : Path
        A folder or a ``validation.toml``, or an ONNX file that has one beside it.
    progress : callable
        Called with a line of text about what is being done.

    Raises
    ------
    UsageError, ModelError, DataError
        The model has no layers to compress, or there are no data to decide on.
    """
    validation, folder, file = find_validation(model)
    table = validation.search or SearchTable()
    workspace = open_workspace(validation, folder, file, {}, progress)
    if workspace.data.sets[0].info.sequences:
        raise UsageError(
            "the search runs samples in batches, and those of [data] sequence have an order",
            where=str(file),
            next_step="write recipes as variants, and measure them: harness validate",
        )
    if not tasks.named(validation.model.task).has_classes:
        raise UsageError(
            f"search supports classes only, and the task is {validation.model.task}",
            where=f"{file}: model.task",
        )
    trials = Trials(workspace, table)
    budget_pt = to_limit(table.max_loss)
    assert budget_pt is not None
    if any(_quantizes(step) for step in table.steps):
        table = _calibrated(table, trials.calibration(progress))
        trials = Trials(workspace, table)
    progress(f"sensitivity of {len(trials.layers)} layers")
    sensitivity = trials.sensitivity(progress)
    plain = [trials.tested("float32", ()), trials.tested("int8", ({"pass": "quantize"},))]
    plain += [trials.tested(f"all {words(step)}", (dict(step),)) for step in table.steps]
    candidates: list[Trial] = []
    alone = {key: (trial.sqnr_db, trials.size(trial)) for key, trial in sensitivity.items()}
    for levels in path_of(alone, trials.layers, len(table.steps), trials.size(plain[0])):
        trial = trials.tried(f"mixed-{len(candidates) + 1}", _recipe(levels, table))
        changed_pt = PT * trial.changed
        progress(
            f"candidate {len(candidates) + 1}: {trials.size(trial)} bytes,"
            f" {changed_pt:.1f} % of the held-out samples changed"
        )
        if changed_pt > budget_pt and candidates:
            break
        candidates.append(trial)
    if not candidates:
        raise ModelError(
            "none of the steps makes this model smaller", where=f"{file}: search.steps",
            cause="its layers are so small that a codebook is larger than what it saves",
            next_step=f"{commands.harness()} compress {commands.quoted(model)} --recipe int8 -o int8",
        )  # fmt: skip
    spread = sorted({round(i) for i in np.linspace(0, len(candidates) - 1, min(VERIFIED, len(candidates)))})
    state, path = State.INCONCLUSIVE, []
    for index in spread:
        trial = trials.tested(candidates[index].name, candidates[index].recipe)
        progress(f"verified {trial.name}: loss {trial.loss_pt.value:.2f} pt [{trial.loss_pt.high:.2f}]")
        path.append(trial)
        if trial.loss_pt.high > budget_pt:
            break
    passed = [trial for trial in path if trial.loss_pt.high <= budget_pt]
    if passed:
        state = State.PASS
    elif path and path[0].loss_pt.low > budget_pt:
        state = State.FAIL
    best = min(passed, key=trials.size) if passed else None
    return SearchResult(state, best, budget_pt, tuple(path), tuple(plain), sensitivity, table)


def words(step: Mapping[str, Any]) -> str:
    """Name a step: ``cluster k=4``."""
    parts = [step["pass"]]
    for key, value in step.items():
        if key == "calibration_by_tensor":
            parts.append("calibrated")
        elif key != "pass":
            parts.append(f"{key}={value}")
    return " ".join(parts)


def _quantizes(step: Mapping[str, Any]) -> bool:
    return bool(step["pass"] == "quantize")  # noqa: S105 - the key names no secret


def _calibrated(table: SearchTable, methods: Mapping[str, str]) -> SearchTable:
    """Add the chosen calibration methods to each step that quantizes, unless it names its own."""
    steps = tuple(
        {**step, "calibration_by_tensor": dict(methods)}
        if methods and _quantizes(step) and not {"calibration", "calibration_by_tensor"} & set(step)
        else step
        for step in table.steps
    )
    return table.model_copy(update={"steps": steps})


def _recipe(levels: Mapping[str, int], table: SearchTable) -> Recipe:
    """Return one step for each level with its layers; level -1 leaves a layer unchanged.

    Quantization comes last: no other pass can read a quantized model.
    """
    steps = [
        {**step, "layers": [layer for layer, chosen in levels.items() if chosen == level]}
        for level, step in enumerate(table.steps)
        if level in levels.values()
    ]
    return tuple(sorted(steps, key=_quantizes))


def path_of(
    alone: Mapping[tuple[str, int], tuple[float, int]], layers: Sequence[str], steps: int, size: int
) -> Iterator[dict[str, int]]:
    """Lower one layer at a time: the layer and level that add the least noise for each byte saved.

    The noise powers of layers are assumed to add up, as those of small independent errors do.

    Parameters
    ----------
    alone : mapping of (layer, level) to (dB, bytes)
        Signal-to-noise ratio at the output and size of the file if that layer alone is lowered.
    layers : sequence of str
    steps : int
    size : int
        Size in bytes if no layer is lowered.

    Yields
    ------
    dict
        Layer to level; -1 leaves it unchanged.
    """
    levels = dict.fromkeys(layers, -1)

    def noise(layer: str, level: int) -> float:
        return 0.0 if level < 0 else float(10 ** (-alone[layer, level][0] / 10))

    def size_at(layer: str, level: int) -> int:
        return size if level < 0 else alone[layer, level][1]

    while True:
        moves = []
        for layer, level in levels.items():
            for lower in range(level + 1, steps):
                saved = size_at(layer, level) - size_at(layer, lower)
                if saved > 0:
                    added = max(0.0, noise(layer, lower) - noise(layer, level))
                    moves.append((added / saved, layer, lower))
        if not moves:
            return
        _, chosen, lower = min(moves)
        levels[chosen] = lower
        yield dict(levels)


def most_sensitive(result: SearchResult) -> list[tuple[str, float]]:
    """Return the three layers whose mildest step costs most, worst first, with their SQNR in dB."""
    mildest = [(layer, trial.sqnr_db) for (layer, level), trial in result.sensitivity.items() if level == 0]
    return sorted(mildest, key=lambda pair: pair[1])[:3]
