"""A FAIL arrives with its cause, which is stored: ``judge`` and ``explain RUN`` tell it again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from onnx import helper

from tests.e2e.shell import MakeModel, Shell, save_onnx

#: Classes in another order on the device, in both settings; a target beside it answers rightly.
WRONG = """\
description = "the classes come in another order"
backends = ["onnxruntime"]
[deploy]
threads = 1
extra = { planted-fault = "permuted-classes 0.0" }
"""
CAUSE = "CAUSE        float32 on wrong: wrong gives its classes in another order: 0 is 1, 1 is 2, "


def test_a_failure_carries_its_cause_and_keeps_it(harness: Shell, model: MakeModel) -> None:
    (harness.folder / "targets").mkdir()
    (harness.folder / "targets" / "wrong.toml").write_text(WRONG)
    chosen = ("--model", model(), "--suite", "accuracy", "--variant", "float32")
    ended = harness("validate", "--target", "wrong,cpu", *chosen, env={"HARNESS_EXPLAIN": ""})
    assert ended.code == 1
    lines = ended.out.splitlines()
    (cause,) = (line for line in lines if line.startswith("CAUSE"))
    assert cause.startswith(CAUSE)
    assert "same-numbers-as-host" in cause or "float-accuracy-as-on-host" in cause
    assert "affected     wrong; not affected: cpu" in lines
    judged = harness("judge", "latest")
    assert cause in judged.out.splitlines()
    in_junit(harness)
    listed = json.loads(harness("judge", "latest", "--json").out)["explanations"]
    (stored,) = (one for one in listed if one["causes"])
    assert (stored["target"], stored["variant"]) == ("wrong", "float32")
    file = harness.run() / "explanations.json"
    whole = file.read_text()
    file.write_text(whole[:40])
    damaged = harness("judge", "latest")
    assert damaged.code == 1
    assert "the explanations cannot be read" in damaged.out
    asked = harness("explain", "latest")
    assert asked.code == 0
    assert cause in asked.out.splitlines()
    assert "confirmed         order of classes" in asked.out


def in_junit(harness: Shell) -> None:
    """Cause and targets are text and properties of the items that fail, and of no other."""
    text = "SUITE = 'accuracy'\ndef test_gate(harness_gate):\n    harness_gate()\n"
    (harness.folder / "test_gates.py").write_text(text)
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_gates.py", "--harness-run",
            "latest", "--junit-xml=junit.xml",
        ],
        cwd=harness.folder, env=harness.env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    items = list(ElementTree.parse(harness.folder / "junit.xml").iter("testcase"))  # noqa: S314
    causes = 0
    for item in items:
        properties = {one.attrib["name"]: one.attrib["value"] for one in item.iter("property")}
        failure = item.find("failure")
        if "cause" not in properties:
            continue
        causes += 1
        assert failure is not None
        assert properties["target"] == "wrong"
        assert f"CAUSE: {properties['cause']}" in (failure.text or "")  # pytest shortens the message
        assert properties["cause"].startswith(CAUSE.split(maxsplit=1)[1][:40])
        assert properties["affected"] == "wrong; not affected: cpu"
    assert causes
    assert any(one.find("failure") is None for one in items)


def test_nothing_is_explained_where_nobody_asks_or_nothing_fails(harness: Shell, model: MakeModel) -> None:
    (harness.folder / "targets").mkdir()
    (harness.folder / "targets" / "wrong.toml").write_text(WRONG)
    chosen = ("--model", model(), "--suite", "accuracy", "--variant", "float32")
    ended = harness(
        "validate", "--target", "wrong", *chosen, "--explain", "0", env={"HARNESS_EXPLAIN": "60s"}
    )
    assert ended.code == 1
    assert "CAUSE" not in ended.out
    assert not list(Path(harness.results).glob("*/explanations.json"))
    assert harness("validate", "--target", "cpu", *chosen).code == 0
    nothing = harness("explain", "latest")
    assert (nothing.code, nothing.err) == (0, "")
    assert "no gate or check that blocks fails because of the answers" in nothing.out


def test_a_wrong_time_is_refused_before_anything_is_measured(harness: Shell, model: MakeModel) -> None:
    ended = harness("validate", "--target", "cpu", "--model", model(), "--explain", "soon")
    assert ended.code == 2
    assert "--explain soon" in ended.err or "explain" in ended.err
    assert not harness.results.exists()
    assert harness("explain").code == 2
    assert harness("explain", "latest", "--between", "cpu,tflite").code == 2


#: Imports of other runtimes, and of the harness, fail.
ALONE = """\
import runpy, sys
allowed = sys.argv[1]
OTHERS = {"onnx", "onnxruntime", "openvino", "ai_edge_litert", "harness"}
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in OTHERS - {allowed}:
            raise ImportError(f"{name} is not there")
sys.meta_path.insert(0, Refused())
runpy.run_path("reproduce.py", run_name="__main__")
"""


@pytest.mark.full  # tests/unit/explain/hypotheses/test_wrong_layer.py names the same
@pytest.mark.parametrize("sides", ["cpu,openvino@parity", "openvino@parity,cpu"])
def test_a_wrong_operator_is_named_refereed_and_reproduced(
    harness: Shell, model: MakeModel, sides: str
) -> None:
    """OpenVINO computes an AveragePool with ceil_mode and counted padding otherwise than ONNX defines it."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(100, 4)).astype(np.float32)}
    nodes = [
        helper.make_node(
            "AveragePool", ["x"], ["p"], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4,
            ceil_mode=1, count_include_pad=1,
        ),
        helper.make_node("Flatten", ["p"], ["f"], "flat"),
        helper.make_node("MatMul", ["f", "w"], ["y"], "product"),
    ]  # fmt: skip
    x = rng.normal(size=(300, 4, 8, 8)).astype(np.float32)
    folder = model(x=x, labels=np.zeros(300, np.int64))
    save_onnx(folder / "model.onnx", nodes, ["n", 4, 8, 8], weights)
    ended = harness("explain", "--model", folder, "--between", sides)
    assert ended.code == 0, ended.out
    assert "CAUSE             AveragePool pool is computed wrongly on openvino@parity" in ended.out
    assert "the definition of ONNX in float64 differs from " in ended.out
    (part,) = harness.results.glob("explain/*/reproducer")
    for runtime, code, says in (("openvino", 1, "largest difference"), ("onnxruntime", 1, "is not there")):
        done = subprocess.run(
            [sys.executable, "-P", "-c", ALONE, runtime],
            cwd=part,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert says in done.stdout + done.stderr


@pytest.mark.full  # tests/unit/explain has the cause and the script of a reproducer
def test_kernels_of_one_wheel_are_named_and_reproduced(harness: Shell, model: MakeModel) -> None:
    """A TFLite file on XNNPACK and on LiteRT's reference kernels: they round otherwise."""
    rng = np.random.default_rng(0)
    shapes = {"w1": (8, 4, 3, 3), "b1": (8,), "w2": (4, 8, 3, 3), "b2": (4,)}
    weights = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c"], "first", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "w2", "b2"], ["d"], "second", pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["d"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["y"], "flat"),
    ]
    folder = model(x=rng.normal(size=(300, 4, 8, 8)).astype(np.float32), labels=np.zeros(300, np.int64))
    save_onnx(folder / "model.onnx", nodes, ["n", 4, 8, 8], weights)
    sides = "tflite:int8,tflite:int8+provider=reference"
    ended = harness("explain", "--model", folder, "--between", sides)
    assert ended.code == 0, ended.out
    assert "CAUSE             tflite:int8+provider=reference runs on reference" in ended.out
    (part,) = harness.results.glob("explain/*/reproducer")
    done = subprocess.run(
        [sys.executable, "-P", "-c", ALONE, "ai_edge_litert"], cwd=part, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "largest difference 1 with ai-edge-litert" in done.stdout
