"""Planted causes: the right one is named first, with its layer; healthy pairs get none."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from onnx import helper, numpy_helper

from harness.core.job import Options
from harness.device.planted import OPTION
from harness.explain.hypotheses import HYPOTHESES
from harness.explain.hypotheses.files.same_format import OtherGraph
from harness.explain.search import procedure
from harness.explain.search.explanation import Explanation
from tests.unit.explain import plants, scenes
from tests.unit.explain.scenes import PARITY, Files, behind, with_constant, with_step

Planted = Callable[[Files], tuple[object, object]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    with plants.registered():
        yield scenes.make(tmp_path_factory.mktemp("files"))


def explained(files: Files, planted: Planted) -> Explanation:
    reference, other = planted(files)
    scene = files.scene(reference, other)  # type: ignore[arg-type]
    return procedure.explain(scene, HYPOTHESES, 600.0)


def rotated(files: Files) -> object:
    order = [1, 2, 3, 4, 5, 0]
    model = with_constant(files.float32, "fc.w", lambda w: w[order])
    return scenes.renamed(with_constant(model, "fc.b", lambda b: b[order]))


def with_a_large_channel(files: Files) -> Files:
    """The same, but a channel of conv3 has large weights, and a bias that keeps its result at zero."""
    large = np.array([300.0] + [1.0] * 7)
    model = with_constant(files.float32, "conv3.w", lambda w: w * large[:, None, None, None])
    model = with_constant(model, "conv3.b", lambda b: np.where(large > 1, -1e4, b))
    return scenes.make(files.folder, model)


def one_scale(files: Files) -> object:
    """The quantized model, with a single scale for all channels of conv3."""
    model = files.int8
    node = next(node for node in model.graph.node if node.name == "conv3")
    weight, bias = (scenes.makers(model)[name] for name in node.input[1:3])
    before = scenes.constant(model, weight.input[1])
    real = scenes.constant(files.float32, "conv3.w")
    scale = np.abs(real).max() / 127
    model = with_constant(model, weight.input[0], lambda _: np.clip(np.rint(real / scale), -127, 127))
    model = with_constant(model, weight.input[1], lambda _: scale)
    model = with_constant(model, weight.input[2], lambda _: 0)
    model = with_constant(model, bias.input[0], lambda codes: np.rint(codes * before / scale))
    model = with_constant(model, bias.input[1], lambda steps: steps / before * scale)
    del scenes.makers(model)[node.input[1]].attribute[:]
    return model


def of_one_scale(files: Files) -> tuple[object, object]:
    large = with_a_large_channel(files)
    return files.side(large.float32), files.side(one_scale(large))  # type: ignore[arg-type]


def bgr(files: Files) -> object:
    swap = helper.make_node("Gather", ["x", "order"], ["changed"], axis=1, name="swap")
    return behind(files.float32, [swap], [numpy_helper.from_array(np.array([2, 1, 0]), "order")])


def scaled(files: Files, factor: float) -> object:
    node = helper.make_node("Mul", ["x", "factor"], ["changed"], name="scaled")
    return behind(files.float32, [node], [numpy_helper.from_array(np.array(factor, np.float32), "factor")])


def without_mean(files: Files) -> object:
    node = helper.make_node("Add", ["x", "mean"], ["changed"], name="moved")
    constant = numpy_helper.from_array(np.array(0.45 / 0.22, np.float32), "mean")
    return behind(files.float32, [node], [constant])


def transposed(files: Files) -> object:
    return behind(
        files.float32, [helper.make_node("Transpose", ["x"], ["changed"], perm=[0, 1, 3, 2], name="t")]
    )


def noisy(files: Files) -> object:
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["noise"], name="noise"),
        helper.make_node("Add", ["x", "noise"], ["changed"], name="noisy"),
    ]
    return behind(files.float32, nodes)


def of_a_batch(files: Files) -> object:
    """The mean with the largest of the batch: one sample alone is right."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["largest"], axes=[0], name="largest"),
        helper.make_node("Add", ["x", "largest"], ["both"], name="both"),
        helper.make_node("Mul", ["both", "half"], ["changed"], name="halved"),
    ]
    return behind(files.float32, nodes, [numpy_helper.from_array(np.array(0.5, np.float32), "half")])


def wrong_bias(files: Files) -> object:
    node = next(n for n in files.int8.graph.node if n.name == "conv5")
    codes = scenes.makers(files.int8)[node.input[2]].input[0]
    return with_constant(files.int8, codes, lambda b: b + 2**14)


def with_slope(files: Files) -> object:
    changed = copy.deepcopy(files.float32)
    next(n for n in changed.graph.node if n.name == "fc7").attribute.append(
        helper.make_attribute("beta", 2.0)
    )
    return changed


def planted(name: str, backend: str) -> Planted:
    """A session of a real runtime with a cause, against a healthy one."""
    options = plants.asking(name, PARITY)
    return lambda f: (
        f.side(f.int8),
        f.side(f.tflite() if backend == "tflite" else f.int8, backend, options),
    )


CAUSES: dict[str, tuple[Planted, str, str]] = {
    "weights": (
        lambda f: (f.side(f.float32), f.side(with_constant(f.float32, "conv3.w", lambda w: 1.2 * w))),
        "constants of the file", "conv3",
    ),
    "weights-openvino": (
        lambda f: (
            f.side(f.float32),
            f.side(with_constant(f.float32, "depthwise2.w", lambda w: w[::-1]), "openvino"),
        ),
        "constants of the file", "depthwise2",
    ),
    "bias": (
        lambda f: (f.side(f.float32), f.side(with_constant(f.float32, "conv5.b", lambda b: b + 0.5))),
        "constants of the file", "conv5",
    ),
    "classes": (lambda f: (f.side(f.float32), f.side(rotated(f), "openvino")), "order of classes", ""),
    "bgr": (lambda f: (f.side(f.float32), f.side(bgr(f), "openvino")), "preprocessing", "BGR"),
    "255": (lambda f: (f.side(f.float32), f.side(scaled(f, 255.0))), "preprocessing", "255"),
    "1/255": (lambda f: (f.side(f.float32), f.side(scaled(f, 1 / 255))), "preprocessing", "255"),
    "mean": (lambda f: (f.side(f.float32), f.side(without_mean(f))), "preprocessing", "mean"),
    "transposed": (lambda f: (f.side(f.float32), f.side(transposed(f))), "preprocessing", "rows and columns"),
    "noise": (lambda f: (f.side(f.float32), f.side(noisy(f))), "calls before", ""),
    "batch": (lambda f: (f.side(f.float32), f.side(of_a_batch(f))), "samples at once", ""),
    "kernels": (
        lambda f: (f.side(f.int8), f.side(f.tflite(), "tflite", replace(PARITY, provider="reference"))),
        "kernels", "",
    ),
    "received-bgr": (planted("bgr", "openvino"), "input received", "BGR"),
    "received-blurred": (planted("blurred", "tflite"), "input received", "the input"),
    "state": (planted("state", "tflite"), "calls before", ""),
    "other-weights": (
        lambda f: (
            f.side(f.float32),
            f.side(f.float32, "openvino", replace(PARITY, extra={OPTION: "other-weights 1.05"})),
        ),
        "wrong operator", "solved weights differ, by 5.0% of their size",
    ),
    "output": (planted("output-offset", "onnxruntime"), "outputs returned", "0.5 is added"),
    "output-tflite": (planted("output-clipped", "tflite"), "outputs returned", "the output"),
    "clipped": (
        lambda f: (f.side(f.float32), f.side(with_step(f.int8, "conv3:r", 1 / 8))), "clipped range", "conv3",
    ),
    "coarse": (
        lambda f: (f.side(f.float32), f.side(with_step(f.int8, "conv5:r", 60.0), "openvino")),
        "coarse range", "conv5",
    ),
    "one-scale": (of_one_scale, "one scale for all channels", "conv3"),
    "sine": (
        lambda f: (
            f.side(f.float32),
            f.side(behind(f.float32, [helper.make_node("Sin", ["x"], ["changed"], name="sine")])),
        ),
        "operators of the file", "Sin sine in the place of Conv",
    ),
    "attribute": (
        lambda f: (f.side(f.float32), f.side(with_slope(f), "openvino")), "operators of the file",
        "beta of Gemm fc7 is 2.0, and not None",
    ),
    "weights-of-another-export": (
        lambda f: (
            f.side(f.float32),
            f.side(scenes.renamed(with_constant(f.float32, "conv3.w", lambda w: 1.2 * w))),
        ),
        "operators of the file", "weights of conv3 are not the same numbers",
    ),
    "scale": (
        lambda f: (f.side(f.int8), f.side(with_step(f.int8, "conv3:r", 1.5))), "constants of the file",
        "first in conv3: scale of its result",
    ),
    "bias-int8": (lambda f: (f.side(f.float32), f.side(wrong_bias(f))), "bias", "conv5"),
}  # fmt: skip

#: Long, and like others.
TWINS = ("attribute", "weights-of-another-export", "coarse", "1/255", "transposed")

HEALTHY: dict[str, Planted] = {
    "same": lambda f: (f.side(f.float32), f.side(f.float32)),
    "openvino": lambda f: (f.side(f.float32), f.side(f.float32, "openvino")),
    "threads": lambda f: (f.side(f.float32), f.side(f.float32, options=Options(threads=2))),
    "renamed": lambda f: (f.side(f.float32), f.side(scenes.renamed(f.float32), "openvino")),
    "int8": lambda f: (f.side(f.float32), f.side(f.int8)),
    "int8-openvino": lambda f: (f.side(f.int8), f.side(f.int8, "openvino")),
    "int8-tflite": lambda f: (f.side(f.int8), f.side(f.tflite(), "tflite")),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.full] * (name in TWINS)) for name in CAUSES]
)
def test_a_planted_cause_is_named(files: Files, name: str) -> None:
    planted, hypothesis, words = CAUSES[name]
    explanation = explained(files, planted)
    causes = explanation.confirmed
    assert [cause.hypothesis for cause in causes] == [hypothesis]
    assert words in f"{causes[0].cause} {causes[0].layer}"
    assert explanation.is_decided


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_pair_gets_no_cause(files: Files, name: str) -> None:
    explanation = explained(files, HEALTHY[name])
    assert not explanation.confirmed
    assert explanation.is_decided


def test_two_causes_at_once_are_both_named(files: Files) -> None:
    changed = with_constant(bgr(files), "conv3.w", lambda w: 1.3 * w)  # type: ignore[arg-type]
    explanation = explained(files, lambda f: (f.side(f.float32), f.side(changed)))
    assert {cause.hypothesis for cause in explanation.confirmed} == {"preprocessing", "constants of the file"}
    assert explanation.left_share < 0.01


def test_a_cause_that_no_hypothesis_knows_is_not_decided(files: Files) -> None:
    node = helper.make_node("Sin", ["x"], ["changed"], name="sine")
    scene = files.scene(files.side(files.float32), files.side(behind(files.float32, [node])))
    explanation = procedure.explain(scene, [one for one in HYPOTHESES if one.name != OtherGraph.name], 600.0)
    assert not explanation.confirmed
    assert not explanation.is_decided
