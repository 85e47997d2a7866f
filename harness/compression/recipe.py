"""From the float model to every variant in every format that a target needs, each addressed by its content.

What made an artifact (model, recipe, calibration data, versions) is its lineage; an artifact is made again
only when its lineage changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx

from harness import plugins
from harness.cache import Cache, code_sha256, key_of
from harness.compression import model_file
from harness.compression.canonical import canonicalise
from harness.compression.export import export_tflite
from harness.compression.steps import checked
from harness.config import FLOAT32, Validation, VariantTable
from harness.core import preprocess
from harness.core.artifact import Artifact, File, Quantization, describe_file, verify
from harness.core.errors import DataError, ModelError, UnsupportedOperator
from harness.data.sets import PreparedData

TOOLS = ("onnx", "onnxruntime", "numpy", "flatbuffers", "deployment-validation-harness")


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
    """

    name: str
    artifacts: Mapping[str, Artifact]
    refused: Mapping[str, str] = field(default_factory=dict)
    quantized: bool = False


class Workshop:
    """Makes the variants of one validation.

    Parameters
    ----------
    validation : Validation
    folder : Path
        Where its relative paths start.
    cache : Cache
    """

    def __init__(self, validation: Validation, folder: Path, cache: Cache) -> None:
        self._validation, self._folder, self._cache = validation, folder, cache
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
            try:
                artifacts["tflite"] = self._recall(
                    name, {**lineage, "format": "tflite"}
                ) or self._make_tflite(name, table, lineage, artifacts["onnx"])
            except UnsupportedOperator as error:
                refused["tflite"] = str(error)
        return Variant(name, artifacts, refused, quantized=bool(artifacts["onnx"].output_quantization))

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
        model, report, steps = self._model, [], {}
        if table.recipe:
            if not len(data.calibration):
                raise DataError(
                    f"there are no calibration samples for the variant {name}",
                    where=f"variants.{name}.recipe",
                    cause='data.split = "none" sets none apart',
                    next_step='set data.split = "hash", or give [data.calibration]',
                )
            model = canonicalise(model)
        for step in table.recipe:
            options = {key: value for key, value in step.items() if key != "pass"}
            pass_ = plugins.choose(plugins.PASSES, step["pass"])
            result = checked(f"{name}: {step['pass']}", pass_, model, data.calibration_feeds(), options)
            model = result.model
            report.append({"pass": step["pass"], **result.report})
            steps.update(result.report.get("output_quantization", {}))
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
            output_quantization=quantization,
            report=report,
        )

    def _make_tflite(
        self, name: str, table: VariantTable, lineage: Mapping[str, Any], source: Artifact
    ) -> Artifact:
        model = model_file.load_onnx(source.path)
        export = export_tflite(
            model if table.recipe else canonicalise(model), name=self._validation.model.name
        )
        return self._keep(
            name,
            "tflite",
            {**lineage, "format": "tflite"},
            {f"{name}.tflite": export.data},
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
            files = model_file.companions_of(path, fmt)
            recorded = table.sha256.get(fmt)
            if recorded is not None and recorded != files[0].sha256:
                raise ModelError(
                    f"{path.name} has the hash {files[0].sha256[:12]}…, {recorded[:12]}… is recorded",
                    where=str(path),
                    next_step=f'put the old file back, or set sha256 = {{ {fmt} = "{files[0].sha256}" }}',
                )
            content: dict[str, bytes | Path] = {file.name: path.parent / file.name for file in files}
            lineage = {
                "what": "prebuilt",
                "files": [[file.name, file.sha256] for file in files],
                "format": fmt,
            }
            artifacts[fmt] = self._keep(name, fmt, lineage, content)
        return Variant(name, artifacts, quantized=name != FLOAT32)

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
        *,
        report: Sequence[Mapping[str, Any]] = (),
        **layout: Any,  # noqa: ANN401 - fields of Artifact
    ) -> Artifact:
        """Store the files, note their lineage, and give the artifact that lies in the cache."""
        files = []
        for file_name, data in content.items():
            if isinstance(data, Path):
                described = describe_file(data)
                files.append(File(file_name, described.sha256, described.size_byte))
            else:
                files.append(File(file_name, hashlib.sha256(data).hexdigest(), len(data)))
        artifact = Artifact(name, fmt, tuple(files), Path(), **layout)
        note = json.dumps({"lineage": lineage, "report": report}, sort_keys=True, indent=1).encode()
        folder = self._cache.put_artifact(artifact.sha256, {**content, "lineage.json": note})
        self._cache.note(key_of(lineage), artifact.to_json())
        return replace(artifact, folder=folder)
