"""How often ``harness explain`` names a planted cause and its layer, two at once, and none where all is well.

The hypotheses run in this process, over three pairs of runtimes.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx

from benchmarks import explain_models
from benchmarks.paired import heading
from harness.compression.export import export_tflite
from harness.core.artifact import Artifact
from harness.core.errors import HarnessError
from harness.core.job import Options
from harness.core.preprocess import apply
from harness.device.planted import OPTION
from harness.explain.hypotheses import HYPOTHESES
from harness.explain.scene import Scene
from harness.explain.search import procedure
from harness.explain.search.explanation import Explanation
from harness.explain.sides.side import Side
from harness.run import rounding
from harness.stats.intervals import clopper_pearson
from harness.store.cache import Cache
from tests.unit.explain import plants, scenes
from tests.unit.explain.hypotheses import test_causes
from tests.unit.explain.scenes import PARITY, STEP, Files, images, with_constant, with_step

#: The reference, and the other side.
PAIRS = (("onnxruntime", "openvino"), ("onnxruntime", "tflite"), ("openvino", "tflite"))
BUDGET_S = 120.0
GOAL = 0.95
HEALTHY_MODELS = 10
#: What rounding explains of each file, by its hash.
BOUNDS: dict[str, dict[str, float]] = {}


@dataclass(frozen=True, slots=True)
class Case:
    """One planted cause.

    Parameters
    ----------
    name : str
    causes : tuple of tuple of str
        Names of hypotheses, one of which is right; one tuple for each cause.
    words : tuple of str
        Each stands in the layer or the line of a cause.
    other : callable
        Makes the other side of files and a backend.
    reference : str
        Variant.
    formats : tuple of str
        Backends on which it can be planted.
    is_of_recipe : bool
        The other side is a quantized model that was made so: the ONNX file of its variant has the cause, too.
    """

    name: str
    causes: tuple[tuple[str, ...], ...]
    words: tuple[str, ...]
    other: Callable[[Files, str], Side]
    reference: str = "float32"
    formats: tuple[str, ...] = ("onnxruntime", "openvino", "tflite")
    is_of_recipe: bool = False


def plain(files: Files, backend: str, variant: str = "float32", options: Options = PARITY) -> Side:
    """A side on which nothing is wrong."""
    return of(files, backend, files.float32 if variant == "float32" else files.int8, options)


def made(change: Callable[[Files], onnx.ModelProto]) -> Callable[[Files, str], Side]:
    """A side that runs a changed model."""
    return lambda files, backend: of(files, backend, change(files))


def of(files: Files, backend: str, model: onnx.ModelProto, options: Options = PARITY) -> Side:
    """A side that runs a model, written in the format of the backend."""
    if backend != "tflite":
        return files.side(model, backend, options)
    side = files.side(export_tflite(model, name="small").data, backend, options)
    is_int8 = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    if is_int8:
        return side
    artifact = replace(side.artifact, variant="float32", precision="")
    return replace(side, label=f"{backend}:float32", variant="float32", artifact=artifact)


def asking(name: str, variant: str = "float32", options: Options = PARITY) -> Callable[[Files, str], Side]:
    """A side with a planted session."""
    return lambda files, backend: plain(files, backend, variant, plants.asking(name, options))


def changed(
    name: str, change: Callable[[np.ndarray], np.ndarray], of_int8: bool = False
) -> Callable[[Files, str], Side]:
    """A side that runs a file with another constant."""
    return lambda files, backend: of(
        files, backend, with_constant(files.int8 if of_int8 else files.float32, name, change)
    )


def rotated(files: Files, backend: str) -> Side:
    """Classes in another order, in the file."""
    return of(files, backend, test_causes.rotated(files))


FILE = ("constants of the file", "file of another format", "operators of the file")
WRONG = ("wrong operator",)
INPUT = ("preprocessing", "input received")
ORDER = ("order of classes",)
ROUNDED = ("precision", "arithmetic")
OF_ONNX = ("onnxruntime", "openvino")

CASES = (
    Case("weights", (FILE,), ("conv3",), changed("conv3.w", lambda w: 1.2 * w)),
    Case("depthwise weights", (FILE,), ("depthwise2",), changed("depthwise2.w", lambda w: w[::-1])),
    Case("bias", (FILE,), ("conv5",), changed("conv5.b", lambda b: b + 0.5)),
    Case("stale file", (FILE,), ("conv1",), changed("conv1.w", lambda w: np.round(w, 1))),
    Case("order in the file", (ORDER,), (), rotated),
    Case("order", (ORDER,), (), asking("order")),
    Case("two classes", (ORDER,), ("1 is 4",), asking("two-classes")),
    Case("order of int8", (ORDER,), (), asking("order", "int8"), "float32"),
    Case("BGR", (INPUT,), ("BGR",), asking("bgr")),
    Case("times 255", (INPUT,), ("255",), asking("times-255")),
    Case("over 255", (INPUT,), ("255",), asking("over-255")),
    Case("no mean", (INPUT,), ("mean",), asking("no-mean")),
    Case("no deviation", (INPUT,), ("deviation",), asking("no-deviation")),
    Case("transposed", (INPUT,), ("rows and columns",), asking("transposed")),
    Case("turned", (INPUT,), ("90",), asking("turned")),
    Case("mirrored", (INPUT,), ("mirrored",), asking("mirrored")),
    Case("moved", (INPUT,), ("column",), asking("moved")),
    Case("grey", (INPUT,), ("grey",), asking("grey")),
    Case("blurred", (INPUT,), (), asking("blurred")),
    Case("cropped", (INPUT,), (), asking("cropped")),
    Case("BGR of int8", (INPUT,), ("BGR",), asking("bgr", "int8"), "int8"),
    Case("state", (("calls before", "state"),), (), asking("state")),
    Case("noise", (("calls before", "not deterministic"),), (), asking("noise")),
    Case("threads", (("threads",),), (), asking("threads", options=replace(PARITY, threads=2))),
    Case("position", (("samples at once",),), (), asking("position")),
    Case("buffer", (("buffers",),), (), asking("buffer")),
    Case("tf32", (ROUNDED,), ("tf32",), asking("tf32"), formats=OF_ONNX),
    Case("bf16", (ROUNDED,), ("bf16",), asking("bf16"), formats=OF_ONNX),
    Case("bf16 in a layer", ((*ROUNDED, *WRONG),), ("conv3",), asking("bf16-one"), formats=OF_ONNX),
    Case("f16", (ROUNDED,), ("f16",), asking("f16"), formats=OF_ONNX),
    Case("f16 from a layer", (ROUNDED,), ("from conv5 on",), asking("f16-from"), formats=OF_ONNX),
    Case("f16 of the output", (ROUNDED,), ("f16", "fc7"), asking("f16-outputs")),
    Case("offset in a channel", (WRONG,), ("conv3",), asking("layer-offset"), formats=OF_ONNX),
    Case("factor", (WRONG,), ("conv5",), asking("layer-factor"), formats=OF_ONNX),
    Case("weights of the session", (WRONG,), ("other weights",),
         lambda f, b: plain(f, b, options=replace(PARITY, extra={OPTION: "other-weights 1.05"}))),
    Case("channel is zero", (WRONG,), ("conv5",), asking("channel"), formats=OF_ONNX),
    Case("clipped sum", (WRONG,), ("add4",), asking("clipped"), formats=OF_ONNX),
    Case("padding", (WRONG,), ("conv5",), asking("padding"), formats=OF_ONNX),
    Case("activation", (WRONG,), ("conv3",), asking("activation"), formats=OF_ONNX),
    Case("pool counts padding", (WRONG,), ("pool6",), asking("pooled"), formats=OF_ONNX),
    Case("offset of the output", (("outputs returned",),), ("0.5",), asking("output-offset")),
    Case("clipped output", (("outputs returned",),), (), asking("output-clipped", "int8"), "int8"),
    Case("rows of the output", (("outputs returned",),), ("samples",), asking("output-rows")),
    Case("clipped range", (("clipped range",),), ("conv3",),
         made(lambda f: with_step(f.int8, "conv3:r", 1 / 8)), is_of_recipe=True),
    Case("clipped first range", (("clipped range",),), ("conv1",),
         made(lambda f: with_step(f.int8, "conv1:r", 1 / 6)), is_of_recipe=True),
    Case("coarse range", (("coarse range",),), ("conv5",),
         made(lambda f: with_step(f.int8, "conv5:r", 60.0)), is_of_recipe=True),
    Case("bias of int8", (("bias",),), ("conv5",), made(test_causes.wrong_bias), is_of_recipe=True),
    Case("weights of int8", (FILE,), ("conv3",), made(lambda f: other_codes(f, "conv3")), "int8"),
    Case("scale of int8", (FILE,), ("conv5",),
         made(lambda f: with_step(f.int8, "conv5:r", 4.0)), "int8"),
    Case("kernels", (("kernels", "rounding"),), ("conv1",),
         lambda f, b: plain(f, b, "int8", replace(PARITY, provider="reference")), "int8", ("tflite",)),
)  # fmt: skip


def other_codes(files: Files, layer: str) -> onnx.ModelProto:
    """The int8 model with the weights of a layer in reverse."""
    node = next(node for node in files.int8.graph.node if node.name == layer)
    codes = scenes.makers(files.int8)[node.input[1]].input[0]
    return with_constant(files.int8, codes, lambda w: w[::-1])


def both(
    name: str, constant: str, change: Callable[[np.ndarray], np.ndarray]
) -> Callable[[Files, str], Side]:
    """A planted session that runs a file with another constant."""
    options = plants.asking(name, PARITY)
    return lambda files, backend: of(files, backend, with_constant(files.float32, constant, change), options)


DOUBLES = (
    Case("BGR, weights", (INPUT, FILE), ("BGR", "conv3"), both("bgr", "conv3.w", lambda w: 1.3 * w)),
    Case("transposed, bias", (INPUT, FILE), ("conv5",), both("transposed", "conv5.b", lambda b: b + 0.3)),
    Case("mirrored, weights", (INPUT, FILE), ("depthwise2",),
         both("mirrored", "depthwise2.w", lambda w: w[::-1])),
    Case("no mean, weights", (INPUT, FILE), ("mean", "conv5"), both("no-mean", "conv5.w", lambda w: 0.8 * w)),
    Case("order, weights", (ORDER, FILE), ("conv3",), both("order", "conv3.w", lambda w: 1.3 * w)),
    Case("BGR, over 255", (INPUT,), ("BGR", "255"), asking("bgr-and-over-255")),
    Case("moved, bias", (INPUT, FILE), ("conv1",), both("moved", "conv1.b", lambda b: b + 0.2)),
    Case("grey, weights", (INPUT, FILE), ("grey", "fc7"), both("grey", "fc.w", lambda w: 1.3 * w)),
    Case("order, bias", (ORDER, FILE), ("conv5",), both("order", "conv5.b", lambda b: b + 0.3)),
    Case("turned, weights", (INPUT, FILE), ("90", "conv1"), both("turned", "conv1.w", lambda w: 1.2 * w)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one case on one pair."""

    text: str
    is_cause_right: bool
    is_layer_right: bool


def report(chosen: Sequence[str] = ()) -> None:
    """Plant each cause on each pair, then look at healthy pairs."""
    heading("harness explain: planted causes, two at once, healthy pairs")
    with tempfile.TemporaryDirectory() as name, plants.registered():
        files = scenes.make(Path(name))
        for title, cases, least in (("planted causes", CASES, GOAL), ("two at once", DOUBLES, 0.8)):
            results = [
                _one(files, case, pair)
                for case in cases
                if not chosen or case.name in chosen
                for pair in _pairs(case)
            ]
            if not results:
                continue
            _rate(f"{title}: right cause first", [one.is_cause_right for one in results], least)
            _rate(f"{title}: right layer", [one.is_layer_right for one in results], least)
        if not chosen or "healthy" in chosen:
            named = list(_healthy(Path(name)))
            _rate("healthy pairs without a cause", [not text for text in named], 1.0)


def _pairs(case: Case) -> Iterator[tuple[str, str]]:
    """Those on which a case can be planted; where the other cannot have it, the two change places."""
    pairs = [pair if pair[1] in case.formats else pair[::-1] for pair in PAIRS]
    yield from dict.fromkeys(pair for pair in pairs if pair[1] in case.formats)


def _one(files: Files, case: Case, pair: tuple[str, str]) -> Result:
    began_s = time.monotonic()
    try:
        reference = plain(files, pair[0], case.reference)
        other = replace(case.other(files, pair[1]), label=f"{pair[1]} (other)")
        explanation = procedure.explain(_scene(files, reference, other, case), HYPOTHESES, BUDGET_S)
    except HarnessError as error:
        explanation = None
        text = f"refused: {error.what}"
    else:
        text = "; ".join(f"{one.hypothesis}: {one.cause} [{one.layer}]" for one in explanation.confirmed)
    right = explanation is not None and _is_right(case, explanation)
    layer = right and all(word in text for word in case.words)
    mark = "right" if layer else ("layer " if right else "WRONG")
    print(f"  {mark} {'/'.join(pair)} {case.name} ({time.monotonic() - began_s:.1f} s): {text or 'nothing'}",
          flush=True)  # fmt: skip
    if not right and explanation is not None:
        for finding in (one for findings in explanation.rounds for one in findings):
            print(f"      {finding.hypothesis}: {finding.state}, {finding.evidence}", flush=True)
    return Result(text, right, layer)


def _scene(files: Files, reference: Side, other: Side, case: Case | None = None) -> Scene:
    """The scene, with the bounds that ``validate`` derives, and the ONNX files of the variants."""
    scene = files.scene(reference, other)
    onnx_files = {
        "float32": files.side(files.float32).artifact, "int8": files.side(files.int8).artifact,
    }  # fmt: skip
    if case is not None and case.is_of_recipe:
        onnx_files["int8"] = case.other(files, "onnxruntime").artifact
    return replace(scene, onnx=onnx_files, bounds=_bounds(files, onnx_files[other.variant]))


def _bounds(files: Files, artifact: Artifact) -> dict[str, float]:
    if artifact.sha256 not in BOUNDS:
        rows = {"x": images()[: rounding.SAMPLES]}
        data = SimpleNamespace(
            calibration=rows["x"],
            calibration_feeds=lambda: ({"x": apply(image[None], STEP)} for image in rows["x"]),
        )
        derived = rounding._derive(artifact, data, Cache(files.folder))  # type: ignore[arg-type]
        BOUNDS[artifact.sha256] = derived.get("bounds", {})
    return BOUNDS[artifact.sha256]


def _is_right(case: Case, explanation: Explanation) -> bool:
    named = [one.hypothesis for one in explanation.confirmed]
    if len(case.causes) == 1 and len(named) != 1 and case in CASES:
        return False
    return all(any(name in names for name in named) for names in case.causes)


def _healthy(folder: Path) -> Iterator[str]:
    """Yield the cause that is named, or nothing, of each healthy pair."""
    for seed in range(HEALTHY_MODELS):
        (place := folder / f"healthy{seed}").mkdir()
        files = scenes.make(place, explain_models.model(seed))
        for variants in (("float32", "float32"), ("float32", "int8")):
            for pair in PAIRS:
                try:
                    sides = [plain(files, *both) for both in zip(pair, variants, strict=True)]
                except HarnessError as error:
                    print(f"  not written: {seed} {pair}: {error.what}", flush=True)
                    continue
                explanation = procedure.explain(_scene(files, *sides), HYPOTHESES, BUDGET_S)
                causes = "; ".join(f"{one.hypothesis}: {one.cause}" for one in explanation.confirmed)
                if causes or not explanation.is_decided:
                    print(
                        f"  {'/'.join(pair)} {'/'.join(variants)} {seed}: {causes or 'not decided'}",
                        flush=True,
                    )
                yield causes


def _rate(what: str, right: Sequence[bool], goal: float) -> None:
    share = clopper_pearson(sum(right), len(right))
    print(f"  {what}: {sum(right)} of {len(right)} ({share.value:.1%}, at least {share.low:.1%} with 95 % "
          f"confidence; goal {goal:.0%})", flush=True)  # fmt: skip


if __name__ == "__main__":
    report(sys.argv[1:])
