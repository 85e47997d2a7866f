"""OpenVINO beside the runtimes of :mod:`graphs`."""

from __future__ import annotations

import numpy as np
import onnx
import openvino as ov

from .graphs import Feeds


def run_openvino(model: onnx.ModelProto, feeds: Feeds) -> Feeds:
    """Run on the CPU in float32 precision, one thread."""
    core = ov.Core()
    compiled = core.compile_model(
        core.read_model(model.SerializeToString(), b""),
        "CPU",
        {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1},
    )
    outputs = compiled(feeds)
    return {output.get_any_name(): np.array(outputs[output]) for output in compiled.outputs}
