"""Write the lists beside this file again, after an upgrade of onnx or of a runtime; then read the difference.

python tests/contract/onnx_known_failures/record.py
"""

from __future__ import annotations

import re
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path

from harness.testing.onnx_backend import Outcome, outcomes

RUNTIMES = {
    "onnxruntime": (
        "harness.testing.bare_runtimes:BareOnnxRuntime",
        "backends.onnxruntime_:OnnxRuntimeBackend",
    ),
    "openvino": ("harness.testing.bare_runtimes:BareOpenVino", "backends.openvino_:OpenVinoBackend"),
}

#: The first pattern that the message matches gives the reason.
REASONS = (
    (
        r"only tensors and the maps",
        "a sequence or an optional goes in or out, and a Session carries tensors",
    ),
    (
        r"takes \S+, not (bfloat16|float[0-9]+_e|u?int[24]|float4)",
        "an input of a type that numpy does not have",
    ),
    (r"takes .*big", "big-endian"),
    (r"can't be converted to MLDataType", "an input of a type that numpy does not have"),
    (r"No corresponding Numpy type", "an output of a type that numpy does not have"),
    (r"not a registered function|Unrecognized|No Op registered", "the runtime does not know the operator"),
    (
        r"Could not find an implementation|Failed to find kernel|NOT_IMPLEMENTED",
        "the runtime has no kernel for the operator in this type or version",
    ),
    (
        r"fully converted|OpConversion|not implemented|NotImplemented|unsupported|not supported|Unsupported",
        "the runtime does not convert the operator in this form",
    ),
    (r"the model takes the inputs|vector::_M_range_check", "the runtime drops an input that has no effect"),
    (r"the input \S+ takes the shape|could not broadcast", "the runtime has another shape for an input"),
    (r"the input \S+ takes", "the runtime has another type for an input"),
    (r"Items are not equal.*dtype", "the runtime returns another type"),
    (r"shapes? .*mismatch|incorrect shape", "the runtime returns another shape"),
    (r"Not equal to tolerance|Arrays are not equal", "the runtime computes other numbers"),
)


def reason(outcome: Outcome) -> str:
    """Return why a case does not pass, in our words."""
    for pattern, words in REASONS:
        if re.search(pattern, outcome.message):
            return words
    return "crashes" if outcome.state == "crashed" else "the runtime refuses the model"


def main() -> None:
    """Write one list a runtime."""
    for runtime, references in RUNTIMES.items():
        bare, ours = outcomes(*references)
        grouped: dict[tuple[bool, str], list[str]] = defaultdict(list)
        for name, outcome in sorted(ours.items()):
            if outcome.state != "passed":
                alone = bare[name].state == "passed"
                grouped[alone, reason(outcome if alone else bare[name])].append(name)
        lines = [
            "# Written by record.py; ours = true: the bare runtime passes, and our layer does not.",
            f'onnx = "{version("onnx")}"',
            f'runtime = "{version(runtime)}"',
        ]
        for (alone, words), names in sorted(grouped.items(), reverse=True):
            quoted = "".join(f'    "{name}",\n' for name in names)
            lines.append(
                f'\n[[known]]\nours = {str(alone).lower()}\nreason = "{words}"\ncases = [\n{quoted}]'
            )
        Path(__file__).with_name(f"{runtime}.toml").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
