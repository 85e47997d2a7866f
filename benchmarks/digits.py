"""The bundled model on each runtime: the requests of the workers, and the bare calls of the runtime."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from harness.config.folders import shipped_folder
from harness.core.artifact import Artifact
from harness.core.contracts import Backend
from harness.core.job import Batch
from harness.core.preprocess import Feeds
from harness.device import plugins, worker
from harness.device.files import FileStore
from harness.report.progress import Quiet
from harness.run.prepare import prepare
from harness.run.request import Request

TARGETS = ("cpu", "openvino", "tflite")
Call = Callable[[], object]


def requests(suite: str, case: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and request of a suite's worker on each runtime, for one case with the deploy setting."""
    model = shipped_folder("models") / "digits"
    prepared = prepare(Request(targets=TARGETS, model=model, suites=(suite,)), Quiet())
    for batch in prepared.plan.batches:
        if batch.target not in TARGETS:
            continue
        value = json.loads(worker.request(batch, prepared.cache.folder))
        cases = [c for c in value["batch"]["cases"] if (c["name"], c["setting"]) == (case, "deploy")]
        yield f"{batch.backend} {batch.variant}", {**value, "batch": {**value["batch"], "cases": cases}}


def bench_of(request: dict[str, Any]) -> worker.DeviceBench:
    """The bench of the worker, in this process."""
    store = Path(request["store"])
    artifact = Artifact.from_json(request["batch"]["artifact"], Path(request["folders"]["artifact"]))
    batch = Batch.from_json(request["batch"], artifact)
    backend: Backend = plugins.choose(plugins.BACKENDS, batch.backend)()
    return worker.DeviceBench(batch, batch.jobs[0], backend, worker.StoredData(batch, FileStore(store)))


class Bare(Protocol):
    """A runtime used as its documentation says, without the harness: one thread, the whole model.

    ``repeated`` is the fastest safe call on fixed feeds, ``batch`` a call on feeds that change, whose outputs
    the caller owns.
    """

    def repeated(self, feeds: Feeds) -> Call: ...

    def batch(self, feeds: Feeds) -> object: ...


class BareOnnxRuntime(Bare):
    def __init__(self, path: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def repeated(self, feeds: Feeds) -> Call:
        import onnxruntime

        value = onnxruntime.OrtValue.ortvalue_from_numpy
        binding = self._session.io_binding()
        for name, array in feeds.items():
            binding.bind_ortvalue_input(name, value(array))
        outputs = self._session.run(None, feeds)
        for node, array in zip(self._session.get_outputs(), outputs, strict=True):
            binding.bind_ortvalue_output(node.name, value(array))
        return partial(self._session.run_with_iobinding, binding)

    def batch(self, feeds: Feeds) -> object:
        return self._session.run(None, feeds)


class BareOpenVino(Bare):
    def __init__(self, path: str) -> None:
        import openvino

        settings = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": "1"}
        self._compiled = openvino.Core().compile_model(path, "CPU", settings)
        self._request = self._compiled.create_infer_request()

    def repeated(self, feeds: Feeds) -> Call:
        import openvino

        request = self._compiled.create_infer_request()
        self._arrays = list(feeds.values())  # a shared tensor does not keep its array alive
        for index, array in enumerate(self._arrays):
            request.set_input_tensor(index, openvino.Tensor(array, shared_memory=True))
        return partial(request.infer, share_outputs=True)

    def batch(self, feeds: Feeds) -> object:
        return self._request.infer(feeds, share_inputs=True)


class BareTflite(Bare):
    def __init__(self, path: str) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(path, num_threads=1)
        self._interpreter.allocate_tensors()
        self._inputs = {entry["name"]: entry["index"] for entry in self._interpreter.get_input_details()}
        self._outputs = [entry["index"] for entry in self._interpreter.get_output_details()]
        self._shapes: list[tuple[int, ...]] = []

    def repeated(self, feeds: Feeds) -> Call:
        interpreter = self._interpreter
        pairs = [(self._inputs[name], array) for name, array in feeds.items()]
        ((where, array),), (out,) = pairs, self._outputs
        set_tensor, invoke, get_tensor = interpreter.set_tensor, interpreter.invoke, interpreter.get_tensor

        def call() -> object:
            set_tensor(where, array)
            invoke()
            return get_tensor(out)

        self.resize(feeds)
        return call

    def batch(self, feeds: Feeds) -> object:
        shapes = [array.shape for array in feeds.values()]
        if shapes != self._shapes:
            self.resize(feeds)
            self._shapes = shapes
        for name, array in feeds.items():
            self._interpreter.set_tensor(self._inputs[name], array)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]

    def resize(self, feeds: Feeds) -> None:
        for name, array in feeds.items():
            self._interpreter.resize_tensor_input(self._inputs[name], array.shape)
        self._interpreter.allocate_tensors()


BARE: dict[str, Callable[[str], Bare]] = {
    "onnxruntime": BareOnnxRuntime,
    "openvino": BareOpenVino,
    "tflite": BareTflite,
}


def bare_of(bench: worker.DeviceBench) -> Bare:
    """Open the bench's model with its runtime alone."""
    return BARE[bench.job.backend](str(bench.artifact.path))
