"""What an artifact's bytes depend on besides model, recipe and data: versions and the processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from harness.compression.foreign import LIBRARIES
from harness.device import environment, plugins

TOOLS = (
    "onnx", "onnxruntime", "numpy", "scipy", "scikit-learn", "flatbuffers", "deployment-validation-harness",
)  # fmt: skip


def processor() -> str:
    """Return the kind of processor: float sums, and so calibrated ranges, differ in the last bits."""
    facts = environment.static_facts()
    return " ".join([facts["arch"], *facts["isa"]])


def tools_of(recipe: Sequence[Mapping[str, Any]]) -> dict[str, str]:
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
