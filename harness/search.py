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

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from harness import plugins
from harness.cache import code_sha256, key_of
from harness.compression import canonical, card, model_file
from harness.compression.recipe import TOOLS
from harness.compression.speed import measure_speed_up
from harness.compression.steps import checked
from harness.compression.weights import weight_layers
from harness.core import preprocess
from harness.core.errors import DataError, ModelError, UsageError
from harness.core.verdict import State
from harness.desk import Desk, Rows, Told, find_validation, set_up
from harness.fields import to_limit
from harness.schema import SearchTable
from harness.stats import paired
from harness.stats.intervals import Interval

Recipe = tuple[dict[str, Any], ...]
PT = 100.0
#: Candidates that are verified: as many, evenly spread along the path.
VERIFIED = 24


@dataclass(frozen=True, slots=True)
class Trial:
    """What is known of one recipe.

    Parameters
    ----------
    name : str
    recipe : tuple of steps
    size_byte, gzip_byte : int
        Of the ONNX file.
    sqnr_db : float
        At the output, on the searched part of the calibration data; infinite where nothing was lost.
    changed : float
        Share of the held-out samples whose answer is another than the float model's.
    accuracy : float
        On test data; without labels, agreement with the float model.
    loss_pt : Interval
        Points lost on test data against the float model, Tango's interval.
    speed : mapping
        Paired ratio to the float model on ONNX Runtime; empty where it was not measured.
    """

    name: str
    recipe: Recipe
    size_byte: int
    gzip_byte: int
    sqnr_db: float
    changed: float
    accuracy: float = math.nan
    loss_pt: Interval = field(default_factory=lambda: Interval(math.nan, math.nan, math.nan, 0))
    speed: Mapping[str, Any] = field(default_factory=dict)


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
    lab = _Lab(desk, table)
    budget_pt = to_limit(table.max_loss)
    assert budget_pt is not None
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
    return " ".join([step["pass"], *(f"{key}={value}" for key, value in step.items() if key != "pass")])


def _recipe(levels: Mapping[str, int], table: SearchTable) -> Recipe:
    """One step for each level, with its layers; level -1 leaves a layer as it is."""
    return tuple(
        {**step, "layers": [layer for layer, own in levels.items() if own == level]}
        for level, step in enumerate(table.steps)
        if level in levels.values()
    )


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


class _Lab:
    """Makes and tries recipes; what was tried is kept in the cache, so that a search that was cut goes on."""

    def __init__(self, desk: Desk, table: SearchTable) -> None:
        self._desk, self._table = desk, table
        calibration = desk.data.calibration
        count = len(calibration)
        held = round(count * table.holdout)
        if not held or held == count:
            raise DataError(
                f"{count} calibration samples cannot be parted into a searched and a held-out part",
                where="data.calibration_samples",
                cause='data.split = "none" sets none apart' if not count else "there are too few",
                next_step='set data.split = "hash", or give [data.calibration]',
            )
        self._searched: Rows = {name: raw[:-held] for name, raw in calibration.inputs.items()}
        self._held: Rows = {name: raw[-held:] for name, raw in calibration.inputs.items()}
        self._float = canonical.canonicalise(desk.model)
        found = weight_layers(self._float, where="search")
        self.layers = list(dict.fromkeys(layer.node.name for layer in found))
        path = desk.folder / desk.validation.model.file
        self._lineage = {
            "what": "trial",
            "code": code_sha256(Path(canonical.__file__).parent),
            "model": [[file.name, file.sha256] for file in model_file.onnx_files(path)],
            "shapes": {name: list(shape) for name, shape in desk.validation.shapes.items()},
            "calibration": preprocess.digest(desk.data.calibration_feeds()),
            "holdout": table.holdout,
            "test": sorted(desk.data.sets[0].ref.inputs.values()),
            "tools": {tool: version(tool) for tool in TOOLS},
        }
        self._reference: dict[str, Any] = {}

    def size(self, trial: Trial) -> int:
        """Return what is minimised."""
        return trial.gzip_byte if self._table.minimise == "gzip" else trial.size_byte

    def sensitivity(self, told: Told) -> dict[tuple[str, int], Trial]:
        """Each layer alone at each step, on the searched part."""
        found = {}
        for layer in self.layers:
            for level, step in enumerate(self._table.steps):
                found[layer, level] = self.tried(layer, ({**step, "layers": [layer]},))
            told(
                f"  {layer}: "
                + ", ".join(f"{found[layer, level].sqnr_db:.1f}" for level in range(len(self._table.steps)))
                + " dB"
            )
        return found

    def tried(self, name: str, recipe: Recipe) -> Trial:
        """Make a recipe and try it on calibration data; recalled where it was tried before."""
        key = key_of({**self._lineage, "recipe": list(recipe)})
        known = self._desk.cache.recall(key)
        if known is None:
            known = self._try(recipe)
            self._desk.cache.note(key, known)
        sqnr_db = math.inf if known["sqnr_db"] is None else float(known["sqnr_db"])
        return Trial(name, recipe, known["size_byte"], known["gzip_byte"], sqnr_db, known["changed"])

    def tested(self, name: str, recipe: Recipe) -> Trial:
        """Try a recipe on test data, too, and measure its speed."""
        trial = self.tried(name, recipe)
        key = key_of({**self._lineage, "recipe": list(recipe), "what": "test"})
        known = self._desk.cache.recall(key)
        if known is None:
            model = self._make(recipe)
            content = model.SerializeToString(deterministic=True)
            feed = {
                each: preprocess.apply(raw[:1], self._desk.data.preprocess[each])
                for each, raw in self._searched.items()
            }
            known = {
                "predicted": self._desk.predict(content, self._desk.test_rows()).tolist(),
                "speed": measure_speed_up(self._float, model, feed) if recipe else {},
            }
            self._desk.cache.note(key, known)
        base = self._answers("test", self._desk.test_rows())
        predicted = np.asarray(known["predicted"])
        labels = self._desk.data.labels
        truth = base if labels is None else np.asarray(labels)
        right = predicted == truth
        loss = paired.flips(base == truth, right).loss
        return Trial(
            name, recipe, trial.size_byte, trial.gzip_byte, trial.sqnr_db, trial.changed, float(right.mean()),
            Interval(PT * loss.value, PT * loss.low, PT * loss.high, loss.n), known["speed"],
        )  # fmt: skip

    def _try(self, recipe: Recipe) -> dict[str, Any]:
        model = self._make(recipe)
        content = model.SerializeToString(deterministic=True)
        outputs = [value.name for value in self._float.graph.output]
        found = card.output_sqnr_db(self._float, model, list(self._feeds(self._searched)))
        lost = [found[name] for name in outputs if found.get(name) is not None]
        changed = self._answers("held", self._held) != self._desk.predict(content, self._held)
        return {
            "size_byte": len(content),
            "gzip_byte": card.gzip_byte(content),
            "sqnr_db": min((value for value in lost if value is not None), default=None),
            "changed": float(changed.mean()),
        }

    def _make(self, recipe: Recipe) -> onnx.ModelProto:
        model = self._float
        for step in recipe:
            options = {key: value for key, value in step.items() if key != "pass"}
            pass_ = plugins.choose(plugins.PASSES, step["pass"])
            model = checked(
                f"search: {step['pass']}", pass_, model, self._feeds(self._searched), options
            ).model
        return model

    def _answers(self, name: str, rows: Rows) -> NDArray[np.int64]:
        """The float model's classes."""
        if name not in self._reference:
            self._reference[name] = self._desk.predict(self._float.SerializeToString(), rows)
        found: NDArray[np.int64] = self._reference[name]
        return found

    def _feeds(self, rows: Rows) -> Iterator[dict[str, NDArray[Any]]]:
        count = len(next(iter(rows.values())))
        for row in range(count):
            yield {
                name: preprocess.apply(raw[row : row + 1], self._desk.data.preprocess[name])
                for name, raw in rows.items()
            }


def blame(found: Found) -> list[tuple[str, float]]:
    """Return the layers whose mildest step alone costs most, worst first, with their SQNR in dB."""
    mildest = [(layer, trial.sqnr_db) for (layer, level), trial in found.sensitivity.items() if level == 0]
    return sorted(mildest, key=lambda pair: pair[1])[:3]
