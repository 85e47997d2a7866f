"""Recipes tried on calibration data and on test data; what was tried is kept in the cache."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from harness.compression import canonical, card, model_file
from harness.compression.calibration import METHODS, activations
from harness.compression.quantize import QUANTIZED_OPERATORS
from harness.compression.recipe import TOOLS
from harness.compression.speed import measure_speed_up
from harness.compression.steps import checked
from harness.compression.weights import weight_layers
from harness.config.schema import SearchTable
from harness.core import preprocess
from harness.core.errors import DataError
from harness.device import plugins
from harness.stats import paired
from harness.stats.intervals import Interval
from harness.store.cache import code_sha256, key_of
from harness.variants.workspace import Desk, Rows, Told

Recipe = tuple[dict[str, Any], ...]
PT = 100.0


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


class Lab:
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

    def calibration(self, told: Told) -> dict[str, str]:
        """Choose a method for each activation: in turn, the one that leaves least noise at the output.

        Returns
        -------
        dict
            Only of those for which another is better than ``minmax``.
        """
        chosen: dict[str, str] = {}
        best = self.tried("int8", ({"pass": "quantize"},))
        for tensor in activations(self._float, QUANTIZED_OPERATORS):
            for method in (each for each in METHODS if each != "minmax"):
                methods = {**chosen, tensor: method}
                trial = self.tried("int8", ({"pass": "quantize", "calibration_by_tensor": methods},))
                if trial.sqnr_db > best.sqnr_db:
                    chosen, best = methods, trial
        told(
            f"calibration: {len(chosen)} activations by another method than minmax, {best.sqnr_db:.1f} dB"
            + "".join(f"\n  {tensor}: {method}" for tensor, method in chosen.items())
        )
        return chosen

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
