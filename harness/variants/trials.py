"""Trials of recipes on calibration data and on test data; results are kept in the cache."""

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
from harness.compression.speed import measure_speed_up
from harness.compression.steps import checked
from harness.compression.tools import TOOLS
from harness.compression.weights import weight_layers
from harness.compression.zipped import gzip_byte
from harness.config.schema import SearchTable
from harness.core import preprocess
from harness.core.errors import DataError
from harness.device import plugins
from harness.stats import paired
from harness.stats.intervals import Interval
from harness.store.cache import code_sha256, key_of
from harness.variants.workspace import Progress, Rows, Workspace

Recipe = tuple[dict[str, Any], ...]
PT = 100.0


@dataclass(frozen=True, slots=True)
class Trial:
    """The results of one recipe.

    Parameters
    ----------
    name : str
    recipe : tuple of steps
    size_byte, gzip_byte : int
        Of the ONNX file.
    sqnr_db : float
        At the output, on the search part of the calibration data; infinite if nothing was lost.
    changed : float
        Share of the held-out samples whose class differs from the float model's.
    accuracy : float
        On test data; without labels, agreement with the float model.
    loss_pt : Interval
        Accuracy loss against the float model on test data, in percentage points, with Tango's interval.
    speed : mapping
        Paired ratio to the float model on ONNX Runtime; empty if it was not measured.
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


class Trials:
    """Makes and tries recipes; results are cached, so that an interrupted search can be resumed."""

    def __init__(self, workspace: Workspace, table: SearchTable) -> None:
        self._workspace, self._table = workspace, table
        calibration = workspace.data.calibration
        count = len(calibration)
        holdout = round(count * table.holdout)
        if not holdout or holdout == count:
            raise DataError(
                f"{count} calibration samples cannot be split into a search part and a held-out part",
                where="data.calibration_samples",
                cause="there are too few" if count else 'data.split = "none" reserves no calibration samples',
                next_step='set data.split = "hash", or give [data.calibration]',
            )
        self._search_rows: Rows = {name: raw[:-holdout] for name, raw in calibration.inputs.items()}
        self._held_out_rows: Rows = {name: raw[-holdout:] for name, raw in calibration.inputs.items()}
        self._float = canonical.canonicalise(workspace.model)
        layers = weight_layers(self._float, where="search")
        self.layers = list(dict.fromkeys(layer.node.name for layer in layers))
        path = workspace.folder / workspace.validation.model.file
        self._lineage = {
            "what": "trial",
            "code": code_sha256(Path(canonical.__file__).parent),
            "model": [[file.name, file.sha256] for file in model_file.onnx_files(path)],
            "shapes": {name: list(shape) for name, shape in workspace.validation.shapes.items()},
            "calibration": preprocess.digest(workspace.data.calibration_feeds()),
            "holdout": table.holdout,
            "test": sorted(workspace.data.sets[0].ref.inputs.values()),
            "tools": {tool: version(tool) for tool in TOOLS},
        }
        self._reference: dict[str, Any] = {}

    def size(self, trial: Trial) -> int:
        """Return the size that the search minimises, in bytes."""
        return trial.gzip_byte if self._table.minimise == "gzip" else trial.size_byte

    def calibration(self, progress: Progress) -> dict[str, str]:
        """Choose a calibration method for one activation after another: the one with the least output noise.

        Returns
        -------
        dict
            Activation to method, only where another method is better than ``minmax``.
        """
        chosen: dict[str, str] = {}
        best = self.tried("int8", ({"pass": "quantize"},))
        for tensor in activations(self._float, QUANTIZED_OPERATORS):
            for method in (method for method in METHODS if method != "minmax"):
                methods = {**chosen, tensor: method}
                trial = self.tried("int8", ({"pass": "quantize", "calibration_by_tensor": methods},))
                if trial.sqnr_db > best.sqnr_db:
                    chosen, best = methods, trial
        progress(
            f"calibration: {len(chosen)} activations by another method than minmax, {best.sqnr_db:.1f} dB"
            + "".join(f"\n  {tensor}: {method}" for tensor, method in chosen.items())
        )
        return chosen

    def sensitivity(self, progress: Progress) -> dict[tuple[str, int], Trial]:
        """Try each step on each layer alone, on the search part of the calibration data."""
        trials = {}
        for layer in self.layers:
            for level, step in enumerate(self._table.steps):
                trials[layer, level] = self.tried(layer, ({**step, "layers": [layer]},))
            progress(
                f"  {layer}: "
                + ", ".join(f"{trials[layer, level].sqnr_db:.1f}" for level in range(len(self._table.steps)))
                + " dB"
            )
        return trials

    def tried(self, name: str, recipe: Recipe) -> Trial:
        """Make a recipe and try it on calibration data, unless the cache has the result."""
        key = key_of({**self._lineage, "recipe": list(recipe)})
        result = self._workspace.cache.recall(key)
        if result is None:
            result = self._try(recipe)
            self._workspace.cache.note(key, result)
        sqnr_db = math.inf if result["sqnr_db"] is None else float(result["sqnr_db"])
        return Trial(name, recipe, result["size_byte"], result["gzip_byte"], sqnr_db, result["changed"])

    def tested(self, name: str, recipe: Recipe) -> Trial:
        """Also try a recipe on test data and measure its speed, unless the cache has the result."""
        trial = self.tried(name, recipe)
        key = key_of({**self._lineage, "recipe": list(recipe), "what": "test"})
        result = self._workspace.cache.recall(key)
        if result is None:
            model = self._make(recipe)
            content = model.SerializeToString(deterministic=True)
            feed = next(self._feeds(self._search_rows))
            result = {
                "predicted": self._workspace.predict(content, self._workspace.test_rows()).tolist(),
                "speed": measure_speed_up(self._float, model, feed) if recipe else {},
            }
            self._workspace.cache.note(key, result)
        base = self._float_classes("test", self._workspace.test_rows())
        predicted = np.asarray(result["predicted"])
        labels = self._workspace.data.labels
        truth = base if labels is None else np.asarray(labels)
        right = predicted == truth
        loss = paired.flips(base == truth, right).loss
        return Trial(
            name, recipe, trial.size_byte, trial.gzip_byte, trial.sqnr_db, trial.changed, float(right.mean()),
            Interval(PT * loss.value, PT * loss.low, PT * loss.high, loss.n), result["speed"],
        )  # fmt: skip

    def _try(self, recipe: Recipe) -> dict[str, Any]:
        model = self._make(recipe)
        content = model.SerializeToString(deterministic=True)
        outputs = [value.name for value in self._float.graph.output]
        sqnr_db = card.output_sqnr_db(self._float, model, list(self._feeds(self._search_rows)))
        values = [sqnr_db[name] for name in outputs if sqnr_db.get(name) is not None]
        changed = self._float_classes("held out", self._held_out_rows) != self._workspace.predict(
            content, self._held_out_rows
        )
        return {
            "size_byte": len(content),
            "gzip_byte": gzip_byte(content),
            "sqnr_db": min((value for value in values if value is not None), default=None),
            "changed": float(changed.mean()),
        }

    def _make(self, recipe: Recipe) -> onnx.ModelProto:
        model = self._float
        for step in recipe:
            options = {key: value for key, value in step.items() if key != "pass"}
            pass_ = plugins.choose(plugins.PASSES, step["pass"])
            model = checked(
                f"search: {step['pass']}", pass_, model, self._feeds(self._search_rows), options
            ).model
        return model

    def _float_classes(self, name: str, rows: Rows) -> NDArray[np.int64]:
        """Return the classes that the float model gives."""
        if name not in self._reference:
            self._reference[name] = self._workspace.predict(self._float.SerializeToString(), rows)
        classes: NDArray[np.int64] = self._reference[name]
        return classes

    def _feeds(self, rows: Rows) -> Iterator[dict[str, NDArray[Any]]]:
        return self._workspace.data.feeds_of(rows)
