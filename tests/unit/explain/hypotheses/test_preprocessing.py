"""Mistakes of preprocessing are named, also two at once, with 8 bits beside them, and in tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from harness.core.preprocess import Preprocess
from harness.data.images import ImageRecipe, apply_recipe
from harness.explain.hypotheses import HYPOTHESES
from harness.explain.hypotheses.pipeline import preprocessing, received
from harness.explain.inputs.made_rows import MadeRows
from harness.explain.inputs.originals import Originals, Pipeline
from harness.explain.search import procedure
from harness.explain.search.explanation import Explanation
from harness.explain.sides.side import Side
from tests.unit.explain import scenes
from tests.unit.explain.scenes import PARITY, Files, with_constant

Pixels = NDArray[np.uint8]
RECIPE = ImageRecipe((12, 12), "cover", crop=0.875)
HEIGHT, WIDTH = 30, 40


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return scenes.make(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Originals:
    """Detailed images, larger than the model's input; every third one lies on its side by its EXIF data."""
    folder, random = tmp_path_factory.mktemp("images"), np.random.default_rng(3)
    paths = []
    for number in range(scenes.SAMPLES):
        coarse = np.kron(random.normal(0, 40, (6, 8, 3)), np.ones((5, 5, 1)))
        pixels = np.clip(120 + coarse + random.normal(0, 40, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
        path = folder / f"{number:03}.png"
        exif = Image.Exif()
        exif[0x0112] = 6 if number % 3 == 0 else 1
        Image.fromarray(pixels).save(path, exif=exif)
        paths.append(path)
    return Originals(tuple(paths), RECIPE)


def explained(files: Files, reference: Side, other: Side, held_out: Sequence[int] = ()) -> Explanation:
    scene = replace(files.scene(reference, other), held_out=held_out)
    return procedure.explain(scene, HYPOTHESES, 600.0)


def upright(path: Path) -> Image.Image:
    image = Image.open(path)
    return image.transpose(Image.Transpose.ROTATE_270) if image.getexif().get(0x0112) == 6 else image


def cut(image: Image.Image, method: Image.Resampling) -> Pixels:
    """Resized so that the shorter side has 12 / 0.875 pixels, and the centre of it."""
    scale = 12 / 0.875 / min(image.size)
    width, height = (int(size * scale + 1e-6) for size in image.size)
    left, top = round((width - 12) / 2), round((height - 12) / 2)
    pixels = np.asarray(image.resize((width, height), method))
    return pixels[top : top + 12, left : left + 12]


def squeezed(image: Image.Image) -> Pixels:
    return np.asarray(image.resize((12, 12), Image.Resampling.BILINEAR))


def bordered(image: Image.Image) -> Pixels:
    scale = 12 / max(image.size)
    width, height = (round(size * scale) for size in image.size)
    frame = np.full((12, 12, 3), 114, np.uint8)
    top, left = (12 - height) // 2, (12 - width) // 2
    frame[top : top + height, left : left + width] = np.asarray(
        image.resize((width, height), Image.Resampling.BILINEAR)
    )
    return frame


def by(method: Image.Resampling) -> Callable[[Path], Pixels]:
    return lambda path: cut(upright(path), method)


def twice(path: Path) -> Pixels:
    return cut(upright(path), Image.Resampling.NEAREST)[..., ::-1]


def without_antialiasing(path: Path) -> Pixels:
    return apply_recipe(replace(RECIPE, antialias=False), np.asarray(upright(path)))


def some(names: Iterable[str], quick: Collection[str]) -> list[Any]:
    """All names, those that are not quick in the long run alone."""
    return [pytest.param(name, marks=() if name in quick else pytest.mark.full) for name in names]


#: What a target makes of an image file, in words of Pillow; and what is named.
WRONG: dict[str, tuple[Callable[[Path], Pixels], str]] = {
    "nearest": (by(Image.Resampling.NEAREST), "resized by nearest and not by bilinear"),
    "bicubic": (by(Image.Resampling.BICUBIC), "resized by bicubic and not by bilinear"),
    "lanczos": (by(Image.Resampling.LANCZOS), "resized by lanczos and not by bilinear"),
    "no-antialias": (without_antialiasing, "resized by bilinear without antialiasing and not by bilinear"),
    "squeezed": (lambda path: squeezed(upright(path)), "stretched to the frame, not as [data.image] says"),
    "letterbox": (lambda path: bordered(upright(path)), "fitted into the frame with a border of 114"),
    "exif": (
        lambda path: cut(Image.open(path), Image.Resampling.BILINEAR), "without the rotation of the EXIF",
    ),
    "grey": (
        lambda path: np.asarray(
            Image.fromarray(cut(upright(path), Image.Resampling.BILINEAR)).convert("L").convert("RGB")
        ),
        "in grey, as the luma",
    ),
    "nearest and bgr": (twice, "resized by nearest and not by bilinear and in the channel order BGR"),
}  # fmt: skip


@pytest.mark.parametrize("name", some(WRONG, ("nearest",)))
def test_what_a_target_makes_of_image_files_is_named(files: Files, originals: Originals, name: str) -> None:
    wrong, words = WRONG[name]
    right = np.stack([cut(upright(path), Image.Resampling.BILINEAR) for path in originals.files])
    reference = replace(files.side(files.float32), raw={"x": right}, originals=originals)
    raw = {"x": np.stack([wrong(path) for path in originals.files])}
    other = replace(files.side(files.float32, "openvino"), raw=raw)
    (cause,) = explained(files, reference, other).confirmed
    assert cause.hypothesis == "preprocessing"
    assert words in cause.cause


@pytest.mark.full
def test_the_resize_of_an_8_bit_target_is_named_beside_what_8_bits_make(
    files: Files, originals: Originals
) -> None:
    right, wrong = (
        np.stack([cut(upright(path), method) for path in originals.files])
        for method in (Image.Resampling.BILINEAR, Image.Resampling.NEAREST)
    )
    reference = replace(files.side(files.float32), raw={"x": right}, originals=originals)
    other = replace(files.side(files.tflite(), "tflite"), raw={"x": wrong})
    explanation = explained(files, reference, other)
    assert "resized by nearest and not by bilinear" in explanation.confirmed[0].cause


def test_all_pairs_of_mistakes_can_be_made(files: Files, originals: Originals) -> None:
    right = np.stack([cut(upright(path), Image.Resampling.BILINEAR) for path in originals.files])
    side = replace(files.side(files.float32), raw={"x": right}, originals=originals)
    cases = preprocessing.single(side, range(2))
    assert len(cases) > 100
    for case in preprocessing.pairs(cases)[::7]:
        inputs = case.inputs(range(2))
        assert inputs is None or np.isfinite(inputs["x"]).all()


def test_files_that_are_others_by_now_are_not_used(files: Files, originals: Originals) -> None:
    side = files.side(files.float32)
    made = originals.made([0, 1], Pipeline(originals.recipe))
    assert made is not None
    assert originals.are_those_of(made, [0, 1])
    assert not originals.are_those_of(side.raw["x"][:2], [0, 1])
    moved = replace(originals, files=(Path("gone.png"),))
    assert moved.made([0], Pipeline(originals.recipe)) is None


def shifted_channels(raw: Pixels) -> Pixels:
    return raw[..., [1, 2, 0]]


def with_gamma(raw: Pixels) -> Pixels:
    return np.rint(255 * (raw / 255) ** 2.2).astype(np.uint8)


def enlarged(raw: Pixels) -> Pixels:
    return np.stack([np.asarray(Image.fromarray(x).resize((6, 6), 0).resize((12, 12), 0)) for x in raw])


def cropped(raw: Pixels) -> Pixels:
    return np.stack([np.asarray(Image.fromarray(x[1:-1, 1:-1]).resize((12, 12), 2)) for x in raw])


ARRAYS: dict[str, tuple[Callable[[Pixels], Pixels], str]] = {
    "channels": (shifted_channels, "in the channel order GBR and not RGB"),
    "gamma": (with_gamma, "with a gamma of 2.2"),
    "down-up": (enlarged, "shrunk to 6 × 6 by nearest and enlarged again by nearest"),
    "cropped": (cropped, "cropped by a border of 1 and enlarged again by bilinear"),
    "shifted": (lambda raw: np.roll(raw, 1, 2), "shifted by a column"),
    "rotated": (lambda raw: np.rot90(raw, 1, (1, 2)), "rotated by 90 degrees"),
    "inverted": (lambda raw: 255 - raw, "inverted"),
}  # fmt: skip


@pytest.mark.parametrize("name", some(ARRAYS, ()))
def test_what_a_target_makes_of_an_array_is_named(files: Files, name: str) -> None:
    wrong, words = ARRAYS[name]
    reference = files.side(files.float32)
    other = replace(files.side(files.float32, "openvino"), raw={"x": wrong(scenes.images())})
    (cause,) = explained(files, reference, other).confirmed
    assert words in cause.cause


def test_two_mistakes_at_once_are_named_together_and_their_effect_is_measured(files: Files) -> None:
    side = files.side(files.float32)
    wrong = {"x": np.ascontiguousarray(side.raw["x"][..., ::-1])}
    plain = {"x": replace(scenes.STEP, mean=(0.0,), std=(1.0,))}
    other = replace(files.side(files.float32, "openvino"), raw=wrong, preprocess=plain)
    explanation = explained(files, side, replace(other, label="other"))
    (cause,) = explanation.confirmed
    assert "BGR and not RGB" in cause.cause
    assert "without mean and standard deviation" in cause.cause
    assert explanation.left_share < 0.01


def test_classes_of_an_8_bit_file_are_named_and_what_is_left_is_of_8_bits(files: Files) -> None:
    order = [3, 1, 2, 0, 5, 4]
    model = with_constant(files.float32, "fc.w", lambda w: w[order])
    permuted = scenes.make(files.folder, with_constant(model, "fc.b", lambda b: b[order]))
    scene = files.scene(files.side(files.float32), files.side(permuted.tflite(), "tflite"))
    scene = replace(scene, onnx={**scene.onnx, "int8": files.side(permuted.int8).artifact})
    explanation = procedure.explain(scene, HYPOTHESES, 600.0)
    cause = explanation.confirmed[0]
    assert cause.hypothesis == "order of classes"
    assert "0 is 3, 3 is 0, 4 is 5, 5 is 4" in cause.cause
    assert all(one.hypothesis in ("order of classes", "8 bits") for one in explanation.confirmed)


# Tables

COLUMNS, ROWS = 7, 48
MEANS = (5.0, -3.0, 100.0, 0.0, 2.0, 40.0, -7.0)
SPREADS = (1.0, 3.0, 20.0, 0.5, 1.5, 9.0, 2.0)


def table_files(tmp_path: Path) -> tuple[Files, Side]:
    random = np.random.default_rng(5)
    first = numpy_helper.from_array(random.normal(0, 1, (COLUMNS, 12)).astype(np.float32), "w1")
    second = numpy_helper.from_array(random.normal(0, 1, (12, 3)).astype(np.float32), "w2")
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"], name="first"),
        helper.make_node("Tanh", ["h"], ["t"], name="tanh"),
        helper.make_node("MatMul", ["t", "w2"], ["scores"], name="second"),
    ]
    graph = helper.make_graph(
        nodes, "table", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", COLUMNS])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])], [first, second],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    raw = random.normal(MEANS, SPREADS, (ROWS, COLUMNS)).astype(np.float32)
    files = Files(tmp_path, model, model)
    step = Preprocess(mean=MEANS, std=SPREADS)
    return files, replace(files.side(model, options=PARITY), raw={"x": raw}, preprocess={"x": step})


def exchanged(files: Files, order: Sequence[int], factors: Sequence[float]) -> Side:
    """A target that moves the columns of what it is fed, and multiplies them."""
    nodes = [
        helper.make_node("Gather", ["x", "order"], ["moved"], axis=1, name="moved"),
        helper.make_node("Mul", ["moved", "factors"], ["changed"], name="scaled"),
    ]
    constants = [
        numpy_helper.from_array(np.array(order), "order"),
        numpy_helper.from_array(np.array(factors, np.float32), "factors"),
    ]
    return files.side(scenes.behind(files.float32, nodes, constants))


IN_ORDER, ONES = (0, 1, 2, 3, 4, 5, 6), (1.0,) * 7
TABLES: dict[str, tuple[Sequence[int], Sequence[float], str]] = {
    "exchanged": ((0, 4, 2, 3, 1, 5, 6), ONES, "with its columns in another order: 1 is 4, 4 is 1"),
    "mixed": ((3, 6, 0, 5, 1, 4, 2), ONES, "in another order: 0 is 3, 1 is 6, 2 is 0, 3 is 5 …"),
    "scaled": (IN_ORDER, (1, 1, 1, 1, 1, 1 / 2.54, 1), "with column 5 multiplied by 0.3937"),
    "absent": (IN_ORDER, (1, 1, 0, 1, 1, 1, 1), "with zeros in column 2"),
}  # fmt: skip


@pytest.mark.parametrize("name", some(TABLES, ("exchanged",)))
def test_what_a_target_makes_of_columns_is_named(tmp_path: Path, name: str) -> None:
    order, factors, words = TABLES[name]
    files, side = table_files(tmp_path)
    other = replace(side, artifact=exchanged(files, order, factors).artifact, label="other")
    (cause,) = explained(files, side, other).confirmed
    assert words in cause.cause


def test_rows_are_made_when_they_are_read() -> None:
    made: list[int] = []

    def make(rows: Sequence[int]) -> NDArray[np.float32]:
        made.extend(rows)
        return np.array(rows, np.float32)[:, np.newaxis] * np.ones(3, np.float32)

    lazy = MadeRows(100, make)
    assert (lazy.shape, lazy.ndim, len(lazy), lazy.dtype) == ((100, 3), 2, 100, np.float32)
    assert lazy[[5, 2, 5]][:, 0].tolist() == [5.0, 2.0, 5.0]
    assert lazy[2:4][:, 0].tolist() == [2.0, 3.0]
    assert lazy[3].tolist() == [3.0] * 3
    assert made == [0, 5, 2, 3]
    assert np.asarray(lazy)[:, 1].tolist() == list(range(100))
    assert sorted(made) == list(range(100))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda x: 1.25 * x - 0.5, "multiplied by 1.25 and moved by -0.5"),
        (lambda x: -2.0 * x, "multiplied by -2"),
        (lambda x: np.clip(x, -0.5, 0.75), "limited to -0.5 … 0.75"),
        (np.square, ""),
    ],
)
def test_what_became_of_a_received_input_is_fitted(
    change: Callable[[NDArray[np.float64]], NDArray[np.float64]], text: str
) -> None:
    given = np.random.default_rng(0).normal(size=(8, 3, 5))
    assert received._fitted(given, change(given)) == text
