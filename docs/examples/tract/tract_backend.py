"""ONNX files on tract, an inference engine in Rust: a backend as docs/adding-a-backend.md describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from harness.core.artifact import Artifact, TensorSpec
from harness.core.contracts import Availability, Session
from harness.core.errors import BackendError
from harness.core.job import Options
from harness.core.preprocess import Feeds, Outputs
from harness.core.seam import absent, check_feeds, confirm, opening, refusal

INSTALL = "pip install tract"
#: Types by tract's names; others it does not run or not tell.
DTYPES = {"f16": "float16", "f32": "float32", "f64": "float64", "bool": "bool"} | {
    f"{short}{bits}": f"{name}{bits}"
    for short, name in (("i", "int"), ("u", "uint"))
    for bits in (8, 16, 32, 64)
}


class TractBackend:
    """Opens ONNX files."""

    name = "tract"
    formats = ("onnx",)

    def probe(self) -> Availability:
        try:
            import tract
        except Exception as error:
            return absent(error, INSTALL)
        return Availability(tract.version(), ("tract",))

    def open(self, artifact: Artifact, options: Options) -> Session:
        with opening("tract", INSTALL, artifact, self.formats):
            import onnx
            import tract

            # tract calls an output by the node that makes it, and not by its name in the file.
            names = [value.name for value in onnx.load(artifact.path, load_external_data=False).graph.output]
            model = tract.onnx().load(artifact.path).into_model()
            inputs = [model.input_name(place) for place in range(model.input_count())]
            inputs = tuple(_spec(name, fact) for name, fact in zip(inputs, model.input_facts(), strict=True))
            outputs = tuple(_spec(name, fact) for name, fact in zip(names, model.output_facts(), strict=True))
            return TractSession(model.into_runnable(), inputs, outputs, options)


class TractSession:
    def __init__(
        self, runnable: Any, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], options: Options
    ) -> None:
        self._runnable, self.inputs, self.outputs = runnable, inputs, outputs
        self.effective: Mapping[str, str] = {"provider": "tract", "precision": "f32", "threads": "1"}
        confirm(options, self.effective)
        if options.extra:
            raise BackendError(f"tract has no option {', '.join(options.extra)}")

    def run(self, feeds: Feeds) -> Outputs:
        if self._runnable is None:
            raise BackendError("the session is closed")
        check_feeds(feeds, self.inputs)
        try:
            values = self._runnable.run([np.ascontiguousarray(feeds[spec.name]) for spec in self.inputs])
            return {spec.name: value.to_numpy() for spec, value in zip(self.outputs, values, strict=True)}
        except Exception as error:
            raise refusal(error, "tract cannot run the model") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._runnable = None


def _spec(name: str, fact: Any) -> TensorSpec:
    """Read ``batch,10,f32``: sizes that are names or formulas are the caller's."""
    *sizes, kind = str(fact).split(",")
    shape = tuple(int(size) if size.isdigit() else None for size in sizes)
    return TensorSpec(name, shape, DTYPES[kind.lower()])
