from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.artifact import Artifact, File, TensorSpec
from harness.core.errors import BackendError
from harness.core.job import Options
from harness.core.seam import absent, check_feeds, confirm, opening, refusal

SPECS = (TensorSpec("a", (None, 3), "float32"), TensorSpec("b", (), "int64"))
GOOD: dict[str, Any] = {"a": np.zeros((2, 3), np.float32), "b": np.array(1)}
DTYPES = ["float16", "float32", "float64", "int8", "uint8", "int32", "int64", "bool", ">f4", "U4", "object"]


def test_good_feeds_pass() -> None:
    check_feeds(GOOD, SPECS)
    check_feeds({}, ())


@given(shape=st.lists(st.integers(0, 4), max_size=4).map(tuple), dtype=st.sampled_from(DTYPES))
def test_only_what_the_spec_says_passes(shape: tuple[int, ...], dtype: str) -> None:
    feeds = {**GOOD, "a": np.zeros(shape, dtype)}
    if dtype == "float32" and len(shape) == 2 and shape[1] == 3:
        check_feeds(feeds, SPECS)
    else:
        with pytest.raises(BackendError, match="the input a takes"):
            check_feeds(feeds, SPECS)


@pytest.mark.parametrize(
    ("feeds", "message_text"),
    [
        ({}, "the inputs a, b, not none"),
        ({"a": GOOD["a"]}, "not a"),
        ({**GOOD, "c": GOOD["b"]}, "not a, b, c"),
        ({"A": GOOD["a"], "b": GOOD["b"]}, "not A, b"),
        ({**GOOD, "a": [[0.0] * 3]}, "takes float32, not list"),
        ({**GOOD, "b": np.zeros(1, np.int64)}, r"takes the shape \[\], not \[1\]"),
    ],
)
def test_message_says_what_is_wrong(feeds: Any, message_text: str) -> None:
    with pytest.raises(BackendError, match=message_text):
        check_feeds(feeds, SPECS)


def test_shapes_can_be_left_to_the_runtime() -> None:
    feeds = {**GOOD, "b": np.zeros((4, 4), np.int64)}
    check_feeds(feeds, SPECS, shapes=False)
    with pytest.raises(BackendError):
        check_feeds({**feeds, "b": np.zeros((4, 4), np.int32)}, SPECS, shapes=False)


@pytest.mark.parametrize("array", [np.array(["x"]), np.array([b"x"]), np.array(["x"], object)])
def test_text_of_any_kind_is_text(array: Any) -> None:
    check_feeds({"t": array}, (TensorSpec("t", (1,), "object"),))


def test_type_that_numpy_does_not_have() -> None:
    spec = (TensorSpec("t", (1,), "no_such_dtype"),)
    with pytest.raises(BackendError, match="takes no_such_dtype, not float32"):
        check_feeds({"t": np.zeros(1, np.float32)}, spec)


def test_confirm_refuses_what_is_not_in_use() -> None:
    effective = {"provider": "GPU.0", "precision": "f16", "threads": "2"}
    confirm(Options(), effective)
    confirm(Options(threads=2, precision="f16", provider="GPU"), effective)
    for requested in (
        Options(threads=1),
        Options(precision="f32"),
        Options(provider="CPU"),
        Options(provider="G"),
    ):
        with pytest.raises(BackendError, match="was asked for, the runtime uses"):
            confirm(requested, effective)


def test_opening_wraps_what_a_runtime_raises(tmp_path: Path) -> None:
    artifact = Artifact("float32", "onnx", (File("model.onnx", "", 0),), tmp_path)
    error = KeyError("a\n  b")

    def fail(error: Exception, *formats: str) -> BackendError:
        with pytest.raises(BackendError) as caught, opening("Runtime", "pip install x", artifact, formats):
            raise error
        return caught.value

    wrapped = fail(error, "onnx")
    assert wrapped.what.startswith("Runtime cannot open model.onnx")
    assert wrapped.__cause__ is error
    assert wrapped.where == str(artifact.path)
    missing = fail(ImportError("no module"), "onnx")
    assert missing.what.startswith("Runtime cannot be imported")
    assert missing.next_step == "pip install x"
    assert fail(error, "tflite").what == "Runtime does not open onnx files"


def test_own_error_is_not_wrapped_again() -> None:
    error = BackendError("said once")
    assert refusal(error, "again") is error
    availability = absent(OSError("lib  is\nmissing"), "pip install x")
    assert availability.reason == "OSError: lib is missing"
    assert availability.install == "pip install x"
