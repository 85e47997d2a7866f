"""What is unusual about a model file and its inputs."""

from __future__ import annotations

from pathlib import Path

import onnx

from harness.compression import card
from harness.compression.file_facts import FileFacts
from harness.compression.saturation import saturating
from harness.device import environment
from harness.init.findings import Findings


def file_notes(findings: Findings, facts: FileFacts, model: Path, fmt: str) -> list[str]:
    """Return a sentence for each."""
    notes = []
    if facts.precision:
        notes.append(f"the model is an {facts.precision} model already: it is measured as it is")
    if facts.keeps_state:
        notes.append("the file keeps state between calls: it is reset before each call")
    for name, step in findings.trials[0].guess.steps.items():
        if step.output_rows:
            notes.append(
                f"outputs have as many rows as there are objects in a sample, so that the model takes one a "
                f"call: there is room for {step.output_rows}, see [input.{name}] output_rows"
            )
        elif step.batch_axis is None:
            notes.append(f"the input {name} has no axis for samples: it takes one a call")
        elif step.batch_axis:
            axis = f"axis {step.batch_axis}: check [input.{name}] batch_axis"
            notes.append(f"the input {name} has its samples on {axis}")
    if fmt == "openvino":
        notes.append("the model is measured by OpenVINO alone, which is its own reference")
    if fmt == "onnx" and (wrong := saturating(onnx.load(model, load_external_data=False))):
        notes += card.saturation_notes(wrong)
        if environment.saturates(environment.static_facts()):
            notes.append("this CPU is such a one: the scores above may be too low")
    return notes
