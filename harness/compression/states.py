"""The state that a recurrent model has at each calibration sample of a sequence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx

from harness.compression.canonical import open_session
from harness.compression.model_file import inspect_onnx
from harness.core.preprocess import Feeds
from harness.data.sets import PreparedData


def with_states(model: onnx.ModelProto, data: PreparedData) -> PreparedData:
    """Run the float model over the calibration sequences, and add what its state inputs take at each row.

    Without it a state input would be calibrated with its start value alone, and int8 could hold no other.
    """
    if not data.calibration_lengths or not any(step.state for step in data.preprocess.values()):
        return data
    feeding = data.feeding(inspect_onnx(model).outputs)
    session = open_session(model, "the float model")
    starts = set(np.cumsum([0, *data.calibration_lengths]).tolist())
    names = [spec.name for spec in feeding.outputs]
    states: list[Feeds] = []
    carried: Feeds = {}
    for row, feeds in enumerate(data.calibration_feeds()):
        carried = {name: feeds[name] for name in feeding.states} if row in starts else carried
        states.append(carried)
        outputs = dict(zip(names, session.run(names, {**feeds, **carried}), strict=True))
        carried = feeding.carried(outputs)
    return replace(data, states=tuple(states))
