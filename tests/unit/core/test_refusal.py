"""What runtimes say, condensed to operator, node and cause."""

from __future__ import annotations

import pytest

from harness.core.refusal import LONGEST, condense

ORT = "[ONNXRuntimeError] : 1 : FAIL : "
RESHAPE = (
    f"{ORT}Non-zero status code returned while running Reshape node. Name:'/reshape' Status Message: "
    "/onnxruntime_src/onnxruntime/core/providers/cpu/tensor/reshape_helper.h:91 "
    "onnxruntime::ReshapeHelper::ReshapeHelper(const onnxruntime::TensorShape&, "
    "onnxruntime::TensorShapeVector&, bool) input_shape_size == requested_shape_size was false. "
    "The input tensor cannot be reshaped to the requested shape. Input shape:{1,3}, requested shape:{7}\n"
)
OPENVINO = """Exception from src/inference/src/cpp/core.cpp:105:
Check 'false' failed at src/frontends/common_translators/src/unconverted_ops_report.cpp:151:
FrontEnd API failed with OpConversionFailure:
Model wasn't fully converted. Failed operations detailed log:
-- Conv-17 with a message:
While validating ONNX node '<Node(Conv): /conv>': Check 'data_rank' failed at src/core/util.hpp:307:
While validating node 'opset1::Convolution Convolution_18 (x[0]:f32[1,3,8,8]) -> (dynamic[...])':
Data batch channel count (3) does not match filter input channel count (5).

Summary:
-- Conversion is failed for: Conv-17

"""
ADDRESS = "https://docs.openvino.ai/latest/extensions.html"


@pytest.mark.parametrize(
    ("text", "gist"),
    [
        (RESHAPE, "Reshape (/reshape): The input tensor cannot be reshaped to the requested shape. "
                  "Input shape:{1,3}, requested shape:{7}"),
        (OPENVINO,
         "Conv (/conv): Data batch channel count (3) does not match filter input channel count (5)."),
        (f"-- No conversion rule found for operations: Custom-17\nTo facilitate it, refer to {ADDRESS} \n\n",
         "No conversion rule found for operations: Custom-17"),
        (f"Encountered unresolved custom op: Frob.\nSee instructions: {ADDRESS} Node number 3 (Frob) failed "
         "to prepare.\n",
         "Frob (3): Encountered unresolved custom op: Frob. Node number 3 (Frob) failed to prepare."),
        ("first\n\n  second   line \n", "first second line"),
        ('Traceback (most recent call last):\n  File "a.py", line 3, in f\n    g()\nValueError: bad\n',
         "ValueError: bad"),
        (ADDRESS, "RuntimeError without an explanation"),
        (f"\n {ADDRESS}\n", "RuntimeError without an explanation"),
        ("", "RuntimeError without an explanation"),
    ],
)  # fmt: skip
def test_the_cause_is_kept_and_the_noise_is_not(text: str, gist: str) -> None:
    assert condense(text, "RuntimeError") == gist


def test_a_long_text_ends_with_a_mark() -> None:
    condensed = condense("word " * 1000)
    assert len(condensed) <= LONGEST
    assert condensed.endswith(" …")
