"""From the float model to every variant in every format that a target needs, each addressed by its content.

What made an artifact (model, recipe, calibration data, versions) is its lineage; an artifact is made again
only when its lineage changed.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx

from harness import plugins
from harness.cache import Cache, code_sha256, key_of
from harness.compression import card, model_file
from harness.compression.canonical import canonicalise
from harness.compression.export import export_tflite, float_layers
from harness.compression.export.kinds import Runtime
from harness.compression.optimize import removed
from harness.compression.steps import checked
from harness.config import FLOAT32, Validation, VariantTable
from harness.core import preprocess
from harness.core.artifact import Artifact, File, Quantization, describe_file, verify
from harness.core.errors import DataError, ModelError, UnsupportedOperator
from harness.data.sets import PreparedData

#: Beside the files of an artifact.
NOTE = "lineage.json"
TOOLS = (
    "onnx", "onnxruntime", "numpy", "scipy", "scikit-learn", "flatbuffers", "deployment-validation-harness",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Variant:
    """One variant of the model.

    Parameters
    ----------
    name : str
    artifacts : mapping of format to Artifact
    refused : mapping of format to str
        Why there is no artifact of that format.
    quantized : bool
        It was made by a recipe that quantizes, or is a prebuilt one that is not the float model.
    card : mapping
        What it is (see ``harness.compression.card``); JSON.
    """

    name: str
    artifacts: Mapping[str, Artifact]
    refused: Mapping[str, str] = field(default_factory=dict)
    quantized: bool = False
    card: Mapping[str, Any] = field(default_factory=dict)


class Workshop:
    """Makes the variants of one validation.

    Parameters
    ----------
    validation : Validation
    folder : Path
        Where its relative paths start.
    cache : Cache
    runtime : {"litert", "tflite-2.14"}
        The oldest runtime that must open the TFLite files.
    told : callable
        Is told which step is made.
    """

    def __init__(
        self,
        validation: Validation,
        folder: Path,
        cache: Cache,
        *,
        runtime: Runtime = "litert",
        told: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._validation, self._folder, self._cache = validation, folder, cache
        self._runtime, self._told = runtime, told
        self._model: onnx.ModelProto | None = None
        if validation.model.file:
            path = folder / validation.model.file
            self._model = model_file.load_onnx(path)
            found = describe_file(path).sha256
            recorded = validation.model.sha256
            if recorded is not None and recorded != found:
                raise ModelError(
                    f"{path.name} has the hash {found[:12]}…, {recorded[:12]}… is recorded",
                    where=str(path),
                    cause="the model changed since validation.toml was written",
                    next_step=f'put the old model back, or set model.sha256 = "{found}"',
                )
            if validation.shapes:
                self._model = model_file.fix_shapes(self._model, validation.shapes)

    @property
    def model(self) -> onnx.ModelProto | None:
        """The float model with its shapes fixed; None where there are only prebuilt files."""
        return self._model

    def writing_for(self, runtime: Runtime) -> Workshop:
        """Return the same workshop, but for the runtime that must open its TFLite files."""
        other = copy(self)
        other._runtime = runtime
        return other

    def build(self, names: Iterable[str], formats: Sequence[str], data: PreparedData) -> tuple[Variant, ...]:
        """Make or recall the variants in those formats.

        Raises
        ------
        ModelError
            A variant cannot be made at all.
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
        artifacts["onnx"] = self._recall(name, {**lineage, "format": "onnx"}) or self._make_onnx(
            name, table, lineage, data
        )
        if "tflite" in formats:
            # The file holds the model's name; the ONNX file does not.
            written = {
                **lineage, "format": "tflite", "runtime": self._runtime, "name": self._validation.model.name,
            }  # fmt: skip
            try:
                artifacts["tflite"] = self._recall(name, written) or self._make_tflite(
                    name, table, written, artifacts["onnx"]
                )
            except UnsupportedOperator as error:
                refused["tflite"] = str(error)
        quantized = bool(artifacts["onnx"].output_quantization)
        return Variant(
            name, artifacts, refused, quantized, self._card(name, lineage, artifacts, refused, data)
        )

    def _card(
        self,
        name: str,
        lineage: Mapping[str, Any],
        artifacts: Mapping[str, Artifact],
        refused: Mapping[str, str],
        data: PreparedData,
    ) -> dict[str, Any]:
        """Put together what is known of a variant; what takes time is made once and kept."""
        assert self._model is not None
        key = key_of({**lineage, "what": "card", "of": artifacts["onnx"].sha256})
        facts = self._cache.recall(key)
        if facts is None:
            self._told(f"{name}: card")
            variant = model_file.load_onnx(artifacts["onnx"].path)
            variant = variant if lineage["recipe"] else canonicalise(variant)
            facts = card.describe(variant, canonicalise(self._model), data.calibration_feeds())
            self._cache.note(key, facts)
        found = {
            "schema": card.SCHEMA,
            "variant": name,
            "files": {fmt: self._file(artifact) for fmt, artifact in artifacts.items()},
            "refused": dict(refused),
            **facts,
            "steps": self._noted(artifacts["onnx"]).get("report", []),
            "tflite": self._noted(artifacts["tflite"]).get("held", {}) if "tflite" in artifacts else {},
            "lineage": {**lineage, "runtime": self._runtime, "name": self._validation.model.name},
        }
        return {**found, "notes": card.notes(found)}

    def _file(self, artifact: Artifact) -> dict[str, Any]:
        key = key_of({"what": "gzip", "of": artifact.sha256})
        known = self._cache.recall(key)
        if known is None:
            sizes = [card.gzip_byte((artifact.folder / file.name).read_bytes()) for file in artifact.files]
            known = {"gzip_byte": sum(sizes)}
            self._cache.note(key, known)
        return {
            "name": artifact.path.name, "sha256": artifact.sha256, "size_byte": artifact.size_byte, **known,
        }  # fmt: skip

    def _noted(self, artifact: Artifact) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((artifact.folder / NOTE).read_text())
        return found

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
            "tools": {tool: version(tool) for tool in TOOLS},
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
            return self._keep(name, "onnx", {**lineage, "format": "onnx"}, files)
        model: onnx.ModelProto = self._model
        report: list[dict[str, Any]] = []
        if table.recipe:
            if not len(data.calibration):
                raise DataError(
                    f"there are no calibration samples for the variant {name}",
                    where=f"variants.{name}.recipe",
                    cause='data.split = "none" sets none apart',
                    next_step='set data.split = "hash", or give [data.calibration]',
                )
            model, report = self._run(name, lineage, data)
        steps = {
            output: step for each in report for output, step in each.get("output_quantization", {}).items()
        }
        quantization = {
            output: Quantization(float(step["scale"]), int(step["zero_point"]))
            for output, step in steps.items()
        }
        content: dict[str, bytes | Path] = {f"{name}.onnx": model.SerializeToString(deterministic=True)}
        return self._keep(
            name,
            "onnx",
            {**lineage, "format": "onnx"},
            content,
            {"report": report},
            output_quantization=quantization,
        )

    def _run(
        self, name: str, lineage: Mapping[str, Any], data: PreparedData
    ) -> tuple[onnx.ModelProto, list[dict[str, Any]]]:
        """Run the steps of a recipe; a step that was made before, in this recipe or another, is recalled."""
        assert self._model is not None
        model = canonicalise(self._model)
        report: list[dict[str, Any]] = [{"pass": "canonicalise", **removed(self._model, model)}]
        recipe = lineage["recipe"]
        for count, step in enumerate(recipe, 1):
            made = {**lineage, "recipe": recipe[:count], "what": "step"}
            kept = self._recall(name, made) if count < len(recipe) else None
            if kept is not None:
                model, report = onnx.load(kept.path), self._noted(kept)["report"]
                continue
            self._told(f"{name}: {step['pass']}")
            options = {key: value for key, value in step.items() if key != "pass"}
            pass_ = plugins.choose(plugins.PASSES, step["pass"])
            result = checked(f"{name}: {step['pass']}", pass_, model, data.calibration_feeds(), options)
            model = result.model
            report = [*report, {"pass": step["pass"], **result.report}]
            if count < len(recipe):
                content = model.SerializeToString(deterministic=True)
                self._keep(name, "onnx", made, {"step.onnx": content}, {"report": report})
        return model, report

    def _make_tflite(
        self, name: str, table: VariantTable, lineage: Mapping[str, Any], source: Artifact
    ) -> Artifact:
        self._told(f"{name}: tflite")
        model = model_file.load_onnx(source.path)
        export = export_tflite(
            model if table.recipe else canonicalise(model),
            name=self._validation.model.name,
            runtime=self._runtime,
        )
        held = Counter(f"{operator.kind} {operator.dtype}" for operator in export.operators)
        in_float = float_layers(export) if source.output_quantization else ()
        return self._keep(
            name,
            "tflite",
            lineage,
            {f"{name}.tflite": export.data},
            {"held": {"operators": dict(sorted(held.items())), "float_layers": list(in_float)}},
            input_permutation=export.input_permutation,
            output_permutation=export.output_permutation,
            output_quantization=source.output_quantization,
        )

    def prebuilt(self, name: str) -> Variant:
        """Take in the files that ``variants.NAME.files`` names."""
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
            artifacts[fmt] = self._keep(name, fmt, lineage, content)
        files = {fmt: self._file(artifact) for fmt, artifact in artifacts.items()}
        known: dict[str, Any] = {
            "schema": card.SCHEMA,
            "variant": name,
            "files": files,
            "notes": ["prebuilt: not made here"],
        }
        return Variant(name, artifacts, quantized=name != FLOAT32, card=known)

    def _recall(self, name: str, lineage: Mapping[str, Any]) -> Artifact | None:
        known = self._cache.recall(key_of(lineage))
        if known is None:
            return None
        artifact = Artifact.from_json(known, Path())
        artifact = replace(artifact, variant=name, folder=self._cache.artifact_folder(artifact.sha256))
        try:
            verify(artifact)
        except ModelError:
            self._cache.drop_artifact(artifact.sha256)  # damaged since: it is made again
            return None
        return artifact

    def _keep(
        self,
        name: str,
        fmt: str,
        lineage: Mapping[str, Any],
        content: Mapping[str, bytes | Path],
        facts: Mapping[str, Any] | None = None,
        **layout: Any,  # noqa: ANN401 - fields of Artifact
    ) -> Artifact:
        """Store the files with their lineage and what was learned on the way; the artifact in the cache."""
        files = []
        for file_name, data in content.items():
            if isinstance(data, Path):
                described = describe_file(data)
                files.append(File(file_name, described.sha256, described.size_byte))
            else:
                files.append(File(file_name, hashlib.sha256(data).hexdigest(), len(data)))
        artifact = Artifact(name, fmt, tuple(files), Path(), **layout)
        note = json.dumps({"lineage": lineage, **(facts or {})}, sort_keys=True, indent=1).encode()
        folder = self._cache.put_artifact(artifact.sha256, {**content, NOTE: note})
        self._cache.note(key_of(lineage), artifact.to_json())
        return replace(artifact, folder=folder)
