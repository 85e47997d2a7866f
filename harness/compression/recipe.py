"""Build every variant of a float model in every format that a target needs.

The lineage of an artifact is everything it was made from: model, recipe, calibration data, versions. An
artifact is addressed by its content and is made again only if its lineage changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import onnx

from harness.compression import card, model_file
from harness.compression.artifact_store import ArtifactStore
from harness.compression.canonical import canonicalise
from harness.compression.export import TfliteExport, export_tflite, float_layers
from harness.compression.export.kinds import Runtime
from harness.compression.file_facts import file_facts, onnx_facts
from harness.compression.optimize import removed
from harness.compression.passes import PassResult
from harness.compression.prebuilt import layout_of, store_prebuilt
from harness.compression.runtime import begin
from harness.compression.saturation import saturating
from harness.compression.steps import checked
from harness.compression.tools import TOOLS, processor, tools_of
from harness.compression.variant import Variant
from harness.config.validation import Validation, VariantTable
from harness.core import preprocess, unexpected
from harness.core.artifact import Artifact, File, Quantization
from harness.core.errors import (
    DataError,
    HarnessError,
    ModelError,
    PassFailed,
    RecipeRefused,
    UnsupportedOperator,
    UsageError,
)
from harness.core.tflite_file import tflite_facts
from harness.data.sets import PreparedData
from harness.device import plugins
from harness.store.cache import Cache, code_sha256, key_of

#: Key of the facts about a TFLite file in its metadata; caches of earlier versions have it, too.
TFLITE_FACTS = "held"
#: The same of the operators that ONNX Runtime computes wrongly on some CPUs.
SATURATING = "saturating"


class VariantBuilder:
    """Builds the variants of one validation.

    Parameters
    ----------
    validation : Validation
    folder : Path
        Folder that relative paths start from.
    cache : Cache
    runtime : {"litert", "tflite-2.14"}
        The oldest runtime that must open the TFLite files.
    progress : callable
        Called with a line of text before each step.
    results : mapping of str to PassResult
        What recipes of one step gave on all calibration samples, by variant: they are not run again.
    """

    def __init__(
        self,
        validation: Validation,
        folder: Path,
        cache: Cache,
        *,
        runtime: Runtime = "litert",
        progress: Callable[[str], None] = lambda text: None,
        results: Mapping[str, PassResult] = MappingProxyType({}),
    ) -> None:
        self._validation, self._folder, self._cache = validation, folder, cache
        self._store = ArtifactStore(cache)
        self._runtime, self._progress = runtime, progress
        self._tflite_of_pass: dict[str, TfliteExport] = {}  # by variant
        self._results = results
        self._model: onnx.ModelProto | None = None
        self._canonical_model: onnx.ModelProto | None = None
        self.files: tuple[File, ...] = ()
        if validation.model.file:
            path = folder / validation.model.file
            self._model = model_file.load_onnx(path)
            self.files = model_file.onnx_files(path)
            sha256 = self.files[0].sha256
            recorded = validation.model.sha256
            if recorded is not None and recorded != sha256:
                raise ModelError(
                    f"{path.name} has the hash {sha256[:12]}…, but {recorded[:12]}… is recorded",
                    where=str(path),
                    cause="the model changed since validation.toml was written",
                    next_step=f'put the old model back, or set model.sha256 = "{sha256}"',
                )
            if validation.shapes:
                self._model = model_file.fix_shapes(self._model, validation.shapes)

    @property
    def model(self) -> onnx.ModelProto | None:
        """The float model with its shapes fixed; None if there are only prebuilt files."""
        return self._model

    def for_runtime(self, runtime: Runtime) -> VariantBuilder:
        """Return a copy that writes TFLite files for another runtime."""
        other = copy(self)
        other._runtime = runtime
        return other

    def telling(self, progress: Callable[[str], None]) -> VariantBuilder:
        """Return a copy that tells another function of its progress."""
        other = copy(self)
        other._progress = progress
        return other

    def build(self, names: Iterable[str], formats: Sequence[str], data: PreparedData) -> tuple[Variant, ...]:
        """Build the variants in those formats, or take them from the cache.

        Raises
        ------
        RecipeRefused
            The model does not allow the recipe of a variant.
        ModelError
            A prebuilt file is missing or is not the recorded one.
        """
        return tuple(self._variant(name, formats, data) for name in names)

    def _variant(self, name: str, formats: Sequence[str], data: PreparedData) -> Variant:
        table = self._validation.variants.get(name, VariantTable())
        if table.files:
            return self.prebuilt(name)
        assert self._model is not None  # the configuration was checked
        artifacts: dict[str, Artifact] = {}
        refused: dict[str, str] = {}
        faults: dict[str, Exception] = {}
        lineage = self._lineage(table, data)
        try:
            called = f"{name}.onnx" if table.recipe else ""  # a given file has its own name
            source = self._store.find(name, {**lineage, "format": "onnx"}, called) or self._make_onnx(
                name, table, lineage, data
            )
        except PassFailed:
            raise
        except ModelError as error:
            raise RecipeRefused.of(error) from error
        if writer := self._store.metadata(source).get("writes_tflite"):
            refused["onnx"] = f"the pass {writer} makes a TFLite file only"
        else:
            artifacts["onnx"] = source
        if "tflite" in formats:
            # The file holds the model's name; the ONNX file does not.
            written = {
                **lineage, "format": "tflite", "runtime": self._runtime, "name": self._validation.model.name,
            }  # fmt: skip
            refusal = key_of({**written, "what": "refused"})
            try:
                if (remembered := self._cache.recall(refusal)) is not None:
                    raise ModelError(remembered["reason"])
                artifacts["tflite"] = self._store.find(name, written, f"{name}.tflite") or self._make_tflite(
                    name, lineage, written, source, data
                )
            except PassFailed:
                raise
            except ModelError as error:
                refused["tflite"] = str(error)
                self._cache.note(refusal, {"reason": str(error)})  # the process that measures asks again
            except HarnessError:
                raise
            except Exception as error:  # noqa: BLE001 - other formats of the variant can still be measured
                faults["tflite"] = error
                refused["tflite"] = f"the TFLite writer failed: {unexpected.one_line(error)}"
        described = self._card(name, lineage, source, artifacts, refused, data)
        quantized = any(artifact.precision for artifact in artifacts.values())
        return Variant(name, artifacts, refused, quantized, described, faults)

    def _canonical(self) -> onnx.ModelProto:
        """The form that passes, cards and the TFLite writer need; raises ModelError if the model has none."""
        assert self._model is not None
        if self._canonical_model is None:
            self._canonical_model = canonicalise(self._model)
        return self._canonical_model

    def _card(
        self,
        name: str,
        lineage: Mapping[str, Any],
        source: Artifact,
        artifacts: Mapping[str, Artifact],
        refused: Mapping[str, str],
        data: PreparedData,
    ) -> dict[str, Any]:
        """Describe a variant; the facts that take time to compute are cached."""
        assert self._model is not None
        key = key_of({**lineage, "what": "card", "of": source.sha256})
        # A file that a library wrote is not analysed.
        facts = self._cache.recall(key) if "onnx" in artifacts else {}
        if facts is None:
            begin()
            self._progress(f"{name}: card")
            try:
                reference = self._canonical()
                variant = model_file.load_onnx(source.path) if lineage["recipe"] else reference
                facts = card.describe(variant, reference, data.calibration_feeds())
            except ModelError as error:  # what a runtime opens is measured also where it cannot be analysed
                facts = {"not_analysed": error.what}
            self._cache.note(key, facts)
        tflite = {}
        if "tflite" in artifacts:
            tflite = self._store.metadata(artifacts["tflite"]).get(TFLITE_FACTS, {})
        described = {
            "schema": card.SCHEMA,
            "variant": name,
            "files": {fmt: self._store.describe(artifact) for fmt, artifact in artifacts.items()},
            "refused": dict(refused),
            **facts,
            "steps": self._store.metadata(source).get("report", []),
            SATURATING: self._store.metadata(source).get(SATURATING, []),
            "tflite": tflite,
            "lineage": {**lineage, "runtime": self._runtime, "name": self._validation.model.name},
        }
        return {**described, "notes": card.notes(described)}

    def _lineage(self, table: VariantTable, data: PreparedData) -> dict[str, Any]:
        return {
            "what": "artifact",
            "code": code_sha256(Path(__file__).parent),
            "model": [[file.name, file.sha256] for file in self.files],
            "shapes": {name: list(shape) for name, shape in self._validation.shapes.items()},
            "recipe": list(table.recipe),
            "calibration": preprocess.digest(data.calibration_feeds()) if table.recipe else "",
            "tools": {tool: version(tool) for tool in TOOLS} | tools_of(table.recipe),
            "processor": processor(),
        }

    def _make_onnx(
        self, name: str, table: VariantTable, lineage: Mapping[str, Any], data: PreparedData
    ) -> Artifact:
        assert self._model is not None
        path = self._folder / self._validation.model.file
        if not table.recipe and not self._validation.shapes:  # as given, byte for byte
            files: dict[str, bytes | Path] = {file.name: path.parent / file.name for file in self.files}
            return self._store.put(
                name, "onnx", {**lineage, "format": "onnx"}, files,
                {SATURATING: list(saturating(self._model))}, **layout_of(file_facts(path, "onnx")),
            )  # fmt: skip
        model: onnx.ModelProto = self._model
        facts: dict[str, Any] = {"report": []}
        if table.recipe:
            if not len(data.calibration):
                raise DataError(
                    f"there are no calibration samples for the variant {name}",
                    where=f"variants.{name}.recipe",
                    cause='data.split = "none" reserves no calibration samples',
                    next_step='set data.split = "hash", or give [data.calibration]',
                )
            model, facts["report"] = self._run(name, lineage, data)
        if name in self._tflite_of_pass:
            facts["writes_tflite"] = table.recipe[-1]["pass"]
        steps = {
            output: step
            for entry in facts["report"]
            for output, step in entry.get("output_quantization", {}).items()
        }
        quantization = {
            output: Quantization(float(step["scale"]), int(step["zero_point"]))
            for output, step in steps.items()
        }
        content: dict[str, bytes | Path] = {f"{name}.onnx": model.SerializeToString(deterministic=True)}
        if not model_file.has_weights(model):  # data beyond 2 GB stay in their files
            content |= {file.name: path.parent / file.name for file in self.files[1:]}
        facts[SATURATING] = list(saturating(model))
        layout = layout_of(onnx_facts(model))
        if table.recipe:
            layout["output_quantization"] = quantization
        return self._store.put(name, "onnx", {**lineage, "format": "onnx"}, content, facts, **layout)

    def _run(
        self, name: str, lineage: Mapping[str, Any], data: PreparedData
    ) -> tuple[onnx.ModelProto, list[dict[str, Any]]]:
        """Run the steps of a recipe; steps that are in the cache, from any recipe, are not run again."""
        begin()
        new: list[tuple[Artifact, Mapping[str, Any]]] = []
        try:
            return self._steps(name, lineage, data, new)
        except HarnessError:  # an interrupted recipe resumes from its steps; a refused one leaves none
            for artifact, step_lineage in new:
                self._store.drop(artifact, step_lineage)
            raise

    def _steps(
        self,
        name: str,
        lineage: Mapping[str, Any],
        data: PreparedData,
        new: list[tuple[Artifact, Mapping[str, Any]]],
    ) -> tuple[onnx.ModelProto, list[dict[str, Any]]]:
        assert self._model is not None
        model = self._canonical()
        report: list[dict[str, Any]] = [{"pass": "canonicalise", **removed(self._model, model)}]
        recipe = lineage["recipe"]
        for count, step in enumerate(recipe, 1):
            step_lineage = {**lineage, "recipe": recipe[:count], "what": "step"}
            cached = self._store.find(name, step_lineage) if count < len(recipe) else None
            if cached is not None:
                model, report = onnx.load(cached.path), self._store.metadata(cached)["report"]
                continue
            self._progress(f"{name}: {step['pass']}")
            options = {key: value for key, value in step.items() if key != "pass"}
            pass_ = plugins.choose(plugins.PASSES, step["pass"])
            result = self._results.get(name) if len(recipe) == 1 else None
            if result is None:
                result = checked(f"{name}: {step['pass']}", pass_, model, data.calibration_feeds(), options)
            model = result.model
            report = [*report, {"pass": step["pass"], **result.report}]
            if result.tflite is not None:
                if count < len(recipe):
                    raise UsageError(
                        f"the step {step['pass']} of {name} writes a TFLite file,"
                        " which no later step can read",
                        where=f"variants.{name}.recipe",
                        next_step="make it the last step",
                    )
                self._tflite_of_pass[name] = result.tflite
            if count < len(recipe):
                content = model.SerializeToString(deterministic=True)
                artifact = self._store.put(
                    name, "onnx", step_lineage, {"step.onnx": content}, {"report": report}
                )
                new.append((artifact, step_lineage))
        return model, report

    def _make_tflite(
        self,
        name: str,
        lineage: Mapping[str, Any],
        written: Mapping[str, Any],
        source: Artifact,
        data: PreparedData,
    ) -> Artifact:
        begin()
        self._progress(f"{name}: tflite")
        model = model_file.load_onnx(source.path)
        if writer := self._store.metadata(source).get("writes_tflite"):
            export = self._tflite_from(writer, name, lineage, data)
        else:
            export = export_tflite(
                model if lineage["recipe"] else self._canonical(),
                name=self._validation.model.name,
                runtime=self._runtime,
            )
        counts = Counter(f"{operator.kind} {operator.dtype}" for operator in export.operators)
        quantizes = "writes_tflite" in self._store.metadata(source) or any(
            node.op_type == "QuantizeLinear" for node in model.graph.node
        )
        in_float = float_layers(export) if quantizes else ()
        return self._store.put(
            name,
            "tflite",
            written,
            {f"{name}.tflite": export.data},
            {TFLITE_FACTS: {"operators": dict(sorted(counts.items())), "float_layers": list(in_float)}},
            input_permutation=export.input_permutation,
            output_permutation=export.output_permutation,
            output_quantization=source.output_quantization,
            precision=source.precision or tflite_facts(export.data).precision,
        )

    def _tflite_from(
        self, writer: str, name: str, lineage: Mapping[str, Any], data: PreparedData
    ) -> TfliteExport:
        if self._runtime != "litert":
            raise UnsupportedOperator(
                f"the pass {writer} writes for LiteRT, not for {self._runtime}",
                where=f"variant {name}",
                next_step="use a recipe that ends in quantize",
            )
        if name not in self._tflite_of_pass:  # the ONNX file is in the cache, the TFLite file is not
            self._run(name, lineage, data)
        return self._tflite_of_pass[name]

    def prebuilt(self, name: str) -> Variant:
        """Store the files that ``variants.NAME.files`` names."""
        table = self._validation.variants[name]
        artifacts, described_files = store_prebuilt(self._store, self._folder, name, table)
        described: dict[str, Any] = {
            "schema": card.SCHEMA,
            "variant": name,
            "files": {fmt: self._store.describe(artifact) for fmt, artifact in artifacts.items()},
            **described_files,
        }
        return Variant(name, artifacts, {}, any(a.precision for a in artifacts.values()), described)
