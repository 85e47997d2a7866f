"""Weights and biases that integers cannot hold."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper

from harness.explain.hypotheses.quantization.quantized import (
    OfQuantization,
    Place,
    Quantized,
    per_channel_scales,
)
from harness.explain.integers.requantize import BIASED, channel_axis, per_channel

#: Channels whose ranges differ by more than this need scales of their own.
UNLIKE = 8.0


class PerTensor(OfQuantization):
    """One scale for all channels of a weight whose channels differ."""

    name = "one scale for all channels"
    absent = "every weight has a scale a channel, or channels that are alike"
    says = "one scale for channels that differ"
    changed = "a scale for each channel"
    remedy = "quantize per channel"
    options = staticmethod(per_channel_scales)

    def fix(self, quantized: Quantized, model: onnx.ModelProto) -> Iterator[Place]:
        """Give each such weight a scale a channel, from the float weights."""
        for one in quantized.constants((*BIASED, "MatMul"), 1):
            if one.scale.size != 1 or one.codes.ndim < 2:
                continue
            axis = channel_axis(one.node)
            others = tuple(place for place in range(one.real.ndim) if place != axis)
            largest = np.abs(one.real).max(axis=others)
            ratio = float(largest.max() / max(np.median(largest), 1e-12))
            if ratio >= UNLIKE:
                per_channel(quantized.graph, model, one.node, one.real, axis)
                text = f"the largest channel is {ratio:.0f} times the middle one"
                yield Place(ratio, one.node.name, text)


class BiasOverflow(OfQuantization):
    """A bias that does not fit 32 bits, or is another one than the float model's."""

    name = "bias"
    absent = "every bias is the float model's"
    says = "the bias is not the float model's"
    changed = "the float model's bias"
    remedy = "a larger scale of the layer's input or weights, or the layer in float"

    def fix(self, quantized: Quantized, model: onnx.ModelProto) -> Iterator[Place]:
        """Put the float biases in."""
        nodes = {node.name: node for node in model.graph.node}
        for one in quantized.constants(BIASED, 2):
            gap = np.abs(one.codes.astype(np.float64) * one.scale - one.real)
            wrong = gap > np.maximum(one.scale.astype(np.float64), 1e-3 * np.abs(one.real).max())
            if not wrong.any():
                continue
            name = f"{one.node.name}:bias"
            model.graph.initializer.append(numpy_helper.from_array(one.real.astype(np.float32), name))
            nodes[one.node.name].input[2] = name
            is_at_end = (np.abs(one.codes.astype(np.int64)) >= 2**31 - 1).any()
            text = f"{int(wrong.sum())} of {wrong.size} numbers differ"
            text += ", which need more than 32 bits" if is_at_end else ""
            yield Place(float(gap.max()), one.node.name, text)
