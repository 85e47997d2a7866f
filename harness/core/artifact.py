"""What a runtime opens: tensors, files, and the hash that names them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.core.errors import ModelError

FORMATS = ("onnx", "tflite", "openvino")

#: The name of strings in ``TensorSpec.dtype``: numpy's arrays of Python objects.
STRING = "object"


@dataclass(frozen=True, slots=True)
class Quantization:
    """Affine quantization of one tensor: ``real = scale * (integer - zero_point)``."""

    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model.

    Parameters
    ----------
    name : str
    shape : tuple of int or None
        None is a dimension that the caller chooses.
    dtype : str
        numpy's name (``float32``, ``int8``).
    quantization : Quantization, optional
        Only for integer tensors that stand for real numbers.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    quantization: Quantization | None = None


@dataclass(frozen=True, slots=True)
class File:
    """One file of an artifact."""

    name: str
    sha256: str
    size_byte: int


@dataclass(frozen=True, slots=True)
class Artifact:
    """One variant of the model in one format, addressed by its content.

    Parameters
    ----------
    variant : str
        ``float32``, ``int8`` …
    format : str
        One of ``FORMATS``.
    files : tuple of File
        The file to open first, then those it refers to (OpenVINO weights, ONNX external data).
    folder : Path
        Where the files lie on this machine; not part of the identity.
    input_permutation, output_permutation : mapping of tensor name to axes
        How to transpose the canonical (ONNX) tensor into the file's own layout; a name that is absent
        keeps its layout.
    output_quantization : mapping of tensor name to Quantization
        The step of the last integer tensor before each output, for distances in LSB.
    quantization : mapping of tensor name to Quantization
        Integer inputs and outputs of an ONNX file that stand for real numbers; a TFLite file says it itself.
    precision : str
        ``int8`` or ``int16`` where the file computes in integers; empty where it computes in floats.
    """

    variant: str
    format: str
    files: tuple[File, ...]
    folder: Path
    input_permutation: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    output_permutation: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    output_quantization: Mapping[str, Quantization] = field(default_factory=dict)
    quantization: Mapping[str, Quantization] = field(default_factory=dict)
    precision: str = ""

    @property
    def path(self) -> Path:
        """The file that a runtime opens."""
        return self.folder / self.files[0].name

    @property
    def size_byte(self) -> int:
        """Bytes of all files together."""
        return sum(file.size_byte for file in self.files)

    @property
    def sha256(self) -> str:
        """Hash of the one file, or of the list of names and hashes where there are several."""
        if len(self.files) == 1:
            return self.files[0].sha256
        listed = "".join(f"{file.sha256} {file.name}\n" for file in self.files)
        return hashlib.sha256(listed.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Everything but the folder, which differs from machine to machine."""
        return {
            "variant": self.variant,
            "format": self.format,
            "files": [[file.name, file.sha256, file.size_byte] for file in self.files],
            "input_permutation": {name: list(axes) for name, axes in self.input_permutation.items()},
            "output_permutation": {name: list(axes) for name, axes in self.output_permutation.items()},
            "output_quantization": _steps_to_json(self.output_quantization),
            "quantization": _steps_to_json(self.quantization),
            "precision": self.precision,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], folder: Path) -> Artifact:
        """Read what ``to_json`` wrote; the files lie in `folder`."""
        return cls(
            variant=value["variant"],
            format=value["format"],
            files=tuple(File(*entry) for entry in value["files"]),
            folder=folder,
            input_permutation={name: tuple(axes) for name, axes in value["input_permutation"].items()},
            output_permutation={name: tuple(axes) for name, axes in value["output_permutation"].items()},
            output_quantization=_steps_from_json(value["output_quantization"]),
            # Runs of earlier versions do not have the rest.
            quantization=_steps_from_json(value.get("quantization", {})),
            precision=value.get("precision", ""),
        )


def _steps_to_json(steps: Mapping[str, Quantization]) -> dict[str, list[float]]:
    return {name: [step.scale, step.zero_point] for name, step in steps.items()}


def _steps_from_json(value: Mapping[str, Any]) -> dict[str, Quantization]:
    return {name: Quantization(scale, zero_point) for name, (scale, zero_point) in value.items()}


def sha256_file(path: Path) -> str:
    """Hash of a file's bytes, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def describe_file(path: Path) -> File:
    """Name, hash and size of a file as it is now."""
    return File(path.name, sha256_file(path), path.stat().st_size)


def file_hashes(artifact: Artifact) -> dict[str, str]:
    """SHA-256 of the files as they lie there now, by name."""
    return {file.name: sha256_file(artifact.folder / file.name) for file in artifact.files}


def verify(artifact: Artifact) -> None:
    """Check that the files are those that the artifact names (runtimes load files with flipped bits).

    Raises
    ------
    ModelError
        A file is missing or has another hash.
    """
    for file in artifact.files:
        path = artifact.folder / file.name
        if not path.is_file():
            raise ModelError(
                f"{file.name} is missing",
                where=str(artifact.folder),
                cause="it was moved or deleted",
                next_step="run again: artifacts that are missing are rebuilt",
            )
        sha256 = sha256_file(path)
        if sha256 != file.sha256:
            raise ModelError(
                f"{file.name} has the hash {sha256[:12]}…, {file.sha256[:12]}… was recorded",
                where=str(path),
                cause="the file was changed or damaged since it was recorded",
                next_step="restore it, or record the new hash in validation.toml if the change was meant",
            )
