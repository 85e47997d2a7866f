"""Build every variant of a float model in every format that a target needs.

The lineage of an artifact is everything it was made from: model, recipe, calibration data, versions. An
artifact is addressed by its content and is made again only if its lineage changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import onnx

from harness.compression import card, model_file
from harness.compression.artifact_store import ArtifactStore
from harness.compression.canonical import canonicalise
from harness.compression.export import TfliteExport, export_tflite, float_layers
from harness.compression.export.kinds import Runtime
from harness.compression.foreign import LIBRARIES
from harness.compression.optimize import removed
from harness.compression.steps import checked
from harness.config.validation import FLOAT32, Validation, VariantTable
from harness.core import preprocess
from harness.core.artifact import Artifact, Quantization, describe_file
from harness.core.errors import DataError, HarnessError, ModelError, UnsupportedOperator
from harness.data.sets import PreparedData
from harness.device import environment, plugins
from harness.store.cache import Cache, code_sha256, key_of

TOOLS = (
    "onnx", "onnxruntime", "numpy", "scipy", "scikit-learn", "flatbuffers", "deployment-validation-harness",
)  # fmt: skip

#: Key of the facts about a TFLite file in its metadata; caches of earlier versions have it, too.
TFLITE_FACTS = "held"


@dataclass(frozen=True, slots=True)
class Variant:
    """One variant of the model.

    Parameters
    ----------
    name : str
    artifacts : mapping of format to Artifact
    refused : mapping of format to str
        Reason why there is no artifact of that format.
    quantized : bool
        Made by a recipe that quantizes, or prebuilt and not the float model.
    card : mapping
        Description of the variant as JSON, see ``harness.compression.card``.
    """

    name: str
    artifacts: Mapping[str, Artifact]
    refused: Mapping[str, str] = field(default_factory=dict)
    quantized: bool = False
    card: Mapping[str, Any] = field(default_factory=dict)


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
    """

    def __init__(
        self,
        validation: Validation,
        folder: Path,
        cache: Cache,
        *,
        runtime: Runtime = "litert",
        progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._validation, self._folder, self._cache = validation, folder, cache
        self._store = ArtifactStore(cache)
        self._runtime, self._progress = runtime, progress
        self._tflite_of_pass: dict[str, TfliteExport] = {}  # by variant
        self._model: onnx.ModelProto | None = None
        if validation.model.file:
            path = folder / validation.model.file
            self._model = model_file.load_onnx(path)
            sha256 = describe_file(path).sha256
            recorded = validation.model.sha256
            if recorded is not None and recorded != sha256:
                raise ModelError(
                    f"{path.name} has the hash {sha256[:12]}…, {recorded[:12]}… is recorded",
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

    def build(self, names: Iterable[str], formats: Sequence[str], data: PreparedData) -> tuple[Variant, ...]:
        """Build the variants in those formats, or take them from the cache.

        Raises
        ------
        ModelError
            A variant cannot be made in any format.
        """
        return tuple(self._variant(name, formats, data) for name in names)

    def _variant(self, name: str, formats: Sequence[str], data: PreparedData) -> Variant:
        table = self._validation.variants.get(name, VariantTable())
        if table.files:
            return self.prebuilt(name)
        assert self._model is not None  # the configuration was checked
        artifacts: dict[str, Artifact] = {}
        refused: dict[str, str] = {}
        lineage = self._lineage(table, data)
        source = self._store.find(name, {**lineage, "format": "onnx"}) or self._make_onnx(
            name, table, lineage, data
        )
        if writer := self._store.metadata(source).get("writes_tflite"):
            refused["onnx"] = f"the pass {writer} makes a TFLite file only"
        else:
            artifacts["onnx"] = source
        if "tflite" in formats:
            # The file holds the model's name; the ONNX file does not.
            written = {
                **lineage, "format": "tflite", "runtime": self._runtime, "name": self._validation.model.name,
            }  # fmt: skip
            try:
                artifacts["tflite"] = self._store.find(name, written) or self._make_tflite(
                    name, lineage, written, source, data
                )
            except UnsupportedOperator as error:
                refused["tflite"] = str(error)
        quantized = bool(source.output_quantization)
        described = self._card(name, lineage, source, artifacts, refused, data)
        return Variant(name, artifacts, refused, quantized, described)

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
            self._progress(f"{name}: card")
            variant = model_file.load_onnx(source.path)
            variant = variant if lineage["recipe"] else canonicalise(variant)
            facts = card.describe(variant, canonicalise(self._model), data.calibration_feeds())
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
            "tflite": tflite,
            "lineage": {**lineage, "runtime": self._runtime, "name": self._validation.model.name},
        }
        return {**described, "notes": card.notes(described)}

    def _lineage(self, table: VariantTable, data: PreparedData) -> dict[str, Any]:
        assert self._model is not None
        path = self._folder / self._validation.model.file
        return {
            "what": "artifact",
            "code": code_sha256(Path(__file__).parent),
            "model": [[file.name, file.sha256] for file in model_file.onnx_files(path)],
            "shapes": {name: list(shape) for name, shape in self._validation.shapes.items()},
            "recipe": list(table.recipe),
            "calibration": preprocess.digest(data.calibration_feeds()) if table.recipe else "",
            "tools": {tool: version(tool) for tool in TOOLS} | _tools(table.recipe),
            "processor": processor(),
        }

    def _make_onnx(
        self, name: str, table: VariantTable, lineage: Mapping[str, Any], data: PreparedData
    ) -> Artifact:
        assert self._model is not None
        if not table.recipe and not self._validation.shapes:
            path = self._folder / self._validation.model.file  # as given, byte for byte
            files: dict[str, bytes | Path] = {
                file.name: path.parent / file.name for file in model_file.onnx_files(path)
            }
            return self._store.put(name, "onnx", {**lineage, "format": "onnx"}, files)
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
        return self._store.put(
            name,
            "onnx",
            {**lineage, "format": "onnx"},
            content,
            facts,
            output_quantization=quantization,
        )

    def _run(
        self, name: str, lineage: Mapping[str, Any], data: PreparedData
    ) -> tuple[onnx.ModelProto, list[dict[str, Any]]]:
        """Run the steps of a recipe; steps that are in the cache, from any recipe, are not run again."""
        assert self._model is not None
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
        model = canonicalise(self._model)
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
            result = checked(f"{name}: {step['pass']}", pass_, model, data.calibration_feeds(), options)
            model = result.model
            report = [*report, {"pass": step["pass"], **result.report}]
            if result.tflite is not None:
                if count < len(recipe):
                    raise ModelError(
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
        self._progress(f"{name}: tflite")
        model = model_file.load_onnx(source.path)
        if writer := self._store.metadata(source).get("writes_tflite"):
            export = self._tflite_from(writer, name, lineage, data)
        else:
            export = export_tflite(
                model if lineage["recipe"] else canonicalise(model),
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
        artifacts: dict[str, Artifact] = {}
        for fmt, relative in table.files.items():
            path = self._folder / relative
            parts = model_file.companions_of(path, fmt)
            recorded = table.sha256.get(fmt)
            if recorded is not None and recorded != parts[0].sha256:
                raise ModelError(
                    f"{path.name} has the hash {parts[0].sha256[:12]}…, {recorded[:12]}… is recorded",
                    where=str(path),
                    next_step=f'put the old file back, or set sha256 = {{ {fmt} = "{parts[0].sha256}" }}',
                )
            content: dict[str, bytes | Path] = {file.name: path.parent / file.name for file in parts}
            lineage = {
                "what": "prebuilt",
                "files": [[file.name, file.sha256] for file in parts],
                "format": fmt,
            }
            artifacts[fmt] = self._store.put(name, fmt, lineage, content)
        files = {fmt: self._store.describe(artifact) for fmt, artifact in artifacts.items()}
        described: dict[str, Any] = {
            "schema": card.SCHEMA,
            "variant": name,
            "files": files,
            "notes": ["prebuilt: not made by the harness"],
        }
        return Variant(name, artifacts, quantized=name != FLOAT32, card=described)


def processor() -> str:
    """Return the kind of processor: float sums, and so calibrated ranges, differ in the last bits."""
    facts = environment.static_facts()
    return " ".join([facts["arch"], *facts["isa"]])


def _tools(recipe: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Versions of the distributions that the passes come from, and of the libraries that they call."""
    versions = {}
    for step in recipe:
        source = plugins.find(plugins.PASSES, step["pass"]).distribution
        for tool in (source, LIBRARIES.get(step["pass"], source)):
            try:
                versions[tool] = version(tool)
            except PackageNotFoundError:
                versions[tool] = "not installed"  # the pass raises the error
    return versions
