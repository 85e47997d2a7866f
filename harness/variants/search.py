"""``harness search``: the smallest model within an accuracy budget, layer by layer. Ends in a frozen recipe.

Which layer is lowered next is decided on calibration data (the noise that it adds at the output for each byte
that it saves); where to stop, on a held-out part of them. Test data only verify, as a fixed sequence of
hypotheses: the candidates of the path are tested from the mildest to the boldest, each at one-sided 5 %,
until one does not pass, and the last that passed is the answer. The order is fixed before any test sample is
seen, so the chance that the answer exceeds the budget is still at most 5 %, without a correction (W. Maurer,
L. Hothorn and W. Lehmacher, "Multiple comparisons in drug clinical trials and preclinical assays: a-priori
ordered hypotheses", 1995).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.config.fields import to_limit
from harness.config.schema import SearchTable
from harness.core.errors import ModelError, UsageError
from harness.core.verdict import State
from harness.variants.trials import PT, Lab, Recipe, Trial
from harness.variants.workspace import Told, find_validation, set_up

#: Candidates that are verified: as many, evenly spread along the path.
VERIFIED = 24


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to.

    Parameters
    ----------
    state : State
        PASS: ``best`` is within the budget; FAIL: the mildest candidate is beyond it; INCONCLUSIVE: these
        test samples cannot tell.
    best : Trial, optional
    budget_pt : float
    path : tuple of Trial
        Verified candidates, mild to bold, up to the first that did not pass.
    plain : tuple of Trial
        float32, int8, and each step on all layers alone.
    sensitivity : mapping of (layer, step index) to Trial
        Of that layer alone.
    """

    state: State
    best: Trial | None
    budget_pt: float
    path: tuple[Trial, ...]
    plain: tuple[Trial, ...]
    sensitivity: Mapping[tuple[str, int], Trial]
    table: SearchTable


def search(model: Path, told: Told = lambda text: None) -> Found:
    """Search the smallest model within the budget of ``[search]``.

    Parameters
    ----------
    model : Path
        A folder or a ``validation.toml``, or an ONNX file that has one beside it.
    told : callable
        Is told how far it is.

    Raises
    ------
    UsageError, ModelError, DataError
        There is nothing to search in, or nothing to decide on.
    """
    validation, folder, file = find_validation(model)
    table = validation.search or SearchTable()
    desk = set_up(validation, folder, file, {}, told)
    if validation.model.task != "classification":
        raise UsageError("search decides on classes, and the task is regression", where=f"{file}: model.task")
    lab = Lab(desk, table)
    budget_pt = to_limit(table.max_loss)
    assert budget_pt is not None
    if any(_quantizes(step) for step in table.steps):
        table = _calibrated(table, lab.calibration(told))
        lab = Lab(desk, table)
    told(f"sensitivity of {len(lab.layers)} layers")
    sensitivity = lab.sensitivity(told)
    plain = [lab.tested("float32", ()), lab.tested("int8", ({"pass": "quantize"},))]
    plain += [lab.tested(f"all {words(step)}", (dict(step),)) for step in table.steps]
    kept: list[Trial] = []
    alone = {key: (trial.sqnr_db, lab.size(trial)) for key, trial in sensitivity.items()}
    for levels in path_of(alone, lab.layers, len(table.steps), lab.size(plain[0])):
        trial = lab.tried(f"mixed-{len(kept) + 1}", _recipe(levels, table))
        changed_pt = PT * trial.changed
        told(
            f"candidate {len(kept) + 1}: {lab.size(trial)} bytes, {changed_pt:.1f} % of the hold-out changed"
        )
        if changed_pt > budget_pt and kept:
            break
        kept.append(trial)
    if not kept:
        raise ModelError(
            "none of the steps makes this model smaller", where=f"{file}: search.steps",
            cause="its layers are so small that a codebook weighs more than what it saves",
            next_step="give other steps, or compress it whole: harness compress --recipe int8",
        )  # fmt: skip
    spread = sorted({round(i) for i in np.linspace(0, len(kept) - 1, min(VERIFIED, len(kept)))})
    state, path = State.INCONCLUSIVE, []
    for index in spread:
        trial = lab.tested(kept[index].name, kept[index].recipe)
        told(f"verified {trial.name}: loss {trial.loss_pt.value:.2f} pt [{trial.loss_pt.high:.2f}]")
        path.append(trial)
        if trial.loss_pt.high > budget_pt:
            break
    passed = [trial for trial in path if trial.loss_pt.high <= budget_pt]
    if passed:
        state = State.PASS
    elif path and path[0].loss_pt.low > budget_pt:
        state = State.FAIL
    best = min(passed, key=lab.size) if passed else None
    return Found(state, best, budget_pt, tuple(path), tuple(plain), sensitivity, table)


def words(step: Mapping[str, Any]) -> str:
    """Name a step: ``cluster k=4``."""
    said = [step["pass"]]
    for key, value in step.items():
        if key == "calibration_by_tensor":
            said.append("calibrated")
        elif key != "pass":
            said.append(f"{key}={value}")
    return " ".join(said)


def _quantizes(step: Mapping[str, Any]) -> bool:
    return bool(step["pass"] == "quantize")  # noqa: S105 - the key names no secret


def _calibrated(table: SearchTable, methods: Mapping[str, str]) -> SearchTable:
    """Give each step that quantizes the methods that were found, where it does not bring its own."""
    steps = tuple(
        {**step, "calibration_by_tensor": dict(methods)}
        if methods and _quantizes(step) and not {"calibration", "calibration_by_tensor"} & set(step)
        else step
        for step in table.steps
    )
    return table.model_copy(update={"steps": steps})


def _recipe(levels: Mapping[str, int], table: SearchTable) -> Recipe:
    """One step for each level, with its layers; level -1 leaves a layer as it is. Integers come last."""
    steps = [
        {**step, "layers": [layer for layer, own in levels.items() if own == level]}
        for level, step in enumerate(table.steps)
        if level in levels.values()
    ]
    return tuple(sorted(steps, key=_quantizes))


def path_of(
    alone: Mapping[tuple[str, int], tuple[float, int]], layers: Sequence[str], steps: int, size: int
) -> Iterator[dict[str, int]]:
    """Lower one layer at a time: the one, and as far, that adds the least noise for each byte it saves.

    Noise powers of layers are taken to add up, as errors that are small and know nothing of each other do.

    Parameters
    ----------
    alone : mapping of (layer, level) to (dB, bytes)
        Signal-to-noise ratio at the output, and bytes of the file, where that layer alone is lowered.
    layers : sequence of str
    steps : int
    size : int
        Bytes where none is.

    Yields
    ------
    dict
        Layer to level; -1 leaves it as it is.
    """
    levels = dict.fromkeys(layers, -1)

    def noise(layer: str, level: int) -> float:
        return 0.0 if level < 0 else float(10 ** (-alone[layer, level][0] / 10))

    def held(layer: str, level: int) -> int:
        return size if level < 0 else alone[layer, level][1]

    while True:
        moves = []
        for layer, level in levels.items():
            for lower in range(level + 1, steps):
                saved = held(layer, level) - held(layer, lower)
                if saved > 0:
                    added = max(0.0, noise(layer, lower) - noise(layer, level))
                    moves.append((added / saved, layer, lower))
        if not moves:
            return
        _, chosen, lower = min(moves)
        levels[chosen] = lower
        yield dict(levels)


def blame(found: Found) -> list[tuple[str, float]]:
    """Return the layers whose mildest step alone costs most, worst first, with their SQNR in dB."""
    mildest = [(layer, trial.sqnr_db) for (layer, level), trial in found.sensitivity.items() if level == 0]
    return sorted(mildest, key=lambda pair: pair[1])[:3]
