"""Masks: read from outputs of any layout and from files, and their rows against numpy and scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import accuracy_score, jaccard_score

from harness.core.errors import ConfigurationError, DataError
from harness.core.job import Samples, Status
from harness.core.reductions import hash_rows, limits
from harness.core.task import NO_ANSWER, Block
from harness.data.images import ImageRecipe, apply_recipe
from harness.stats.boundaries import boundary_f
from harness.tasks.host import GivenLabels, LabelSource
from harness.tasks.question import Question
from suites.accuracy.tasks.segmentation import masks
from suites.accuracy.tasks.segmentation.metrics import SegmentationMetrics
from suites.accuracy.tasks.segmentation.task import Options, Segmentation
from tests.unit.suites.test_accuracy_summarise import FLOAT, rows

TASK, HOST = Segmentation(), SegmentationMetrics()
N, CLASSES, SIZE = 40, 3, 8
RNG = np.random.default_rng(11)


def scores_of(answer: NDArray[Any]) -> NDArray[np.float32]:
    """Scores, shape (n, classes, height, width), that are highest at the answer."""
    y = RNG.uniform(0, 1, (len(answer), CLASSES, *answer.shape[1:]))
    y += 2 * (np.arange(CLASSES).reshape(1, -1, 1, 1) == answer[:, None])
    return y.astype(np.float32)


TRUTH = np.kron(RNG.integers(0, CLASSES, (N, 2, 2)), np.ones((1, 4, 4), int))
BASE = np.where(RNG.random(TRUTH.shape) < 0.1, (TRUTH + 1) % CLASSES, TRUTH)
WORSE = np.where(RNG.random(TRUTH.shape) < 0.1, (BASE + 1) % CLASSES, BASE)
LABELS = np.where(RNG.random(TRUTH.shape) < 0.05, -1, TRUTH).astype(np.int16)


def samples(y: NDArray[Any], *, keep: str = "outputs", **options: Any) -> Samples:
    arrays = {"output:0": y}
    if keep == "reduced":
        arrays = {f"{name}:0": array for name, array in {**limits(y), "row_hash": hash_rows(y)}.items()}
        reading = TASK.reading("y", options=options)
        arrays |= {f"answer:{name}": a for name, a in TASK.reduce(reading, Block({"y": y})).items()}
    return Samples(arrays, {"outputs": [["y", list(y.shape[1:])]], "input_sha256": "d", "options": options})


@pytest.mark.parametrize("keep", ["outputs", "reduced"])
def test_rows_are_those_of_scikit_learn_also_of_masks_alone(keep: str) -> None:
    base, worse = (samples(scores_of(mask), keep=keep) for mask in (BASE, WORSE))
    metrics = rows(worse, {"float32": base}, labels=LABELS, task="segmentation")
    counted = LABELS >= 0
    expected = {}
    for name, mask in (("base", BASE), ("worse", WORSE)):
        flat = LABELS[counted], mask[counted]
        expected[name] = {
            "miou": jaccard_score(*flat, average="macro"),
            "pixel_accuracy": accuracy_score(*flat),
            "boundary_f": np.nanmean(boundary_f(mask, LABELS, CLASSES)),
        }
    for metric, value in expected["worse"].items():
        row = metrics[metric, ""]
        assert row.value == pytest.approx(value, abs=1e-9)
        assert row.ci_low < row.value < row.ci_high
        lost = 100 * (expected["base"][metric] - value)
        assert metrics[f"{metric}_loss", FLOAT].value == pytest.approx(lost, abs=1e-9)
        assert metrics[f"{metric}_loss", FLOAT].unit == "pt"
    assert metrics["agreement", FLOAT].value == pytest.approx((BASE == WORSE).mean(), abs=1e-9)
    macro = jaccard_score(BASE.ravel(), WORSE.ravel(), average="macro")
    assert metrics["agreement_iou", FLOAT].value == pytest.approx(macro, abs=1e-9)
    harmful = ((BASE == LABELS) & (WORSE != LABELS) & counted).sum(axis=(1, 2)) / counted.sum(axis=(1, 2))
    assert metrics["flips_harmful", FLOAT].value == pytest.approx(harmful.mean(), abs=1e-9)
    by_class = jaccard_score(*flat, average=None)
    for label in range(CLASSES):
        assert metrics[f"class_iou/{label}", ""].value == pytest.approx(by_class[label], abs=1e-9)


def test_a_variant_that_is_the_same_lost_nothing_and_a_set_without_pixels_is_skipped() -> None:
    base = samples(scores_of(BASE))
    metrics = rows(base, {"float32": base}, labels=LABELS, task="segmentation")
    assert metrics["miou_loss", FLOAT].value == metrics["boundary_f_loss", FLOAT].value == 0
    assert metrics["agreement", FLOAT].value == metrics["agreement_iou", FLOAT].value == 1
    metrics = rows(base, {"float32": base}, labels=np.full_like(LABELS, -1), task="segmentation")
    assert metrics["miou", ""].status is Status.SKIPPED
    assert "no pixel" in metrics["miou", ""].reason


def test_layouts_and_forms_give_the_same_masks() -> None:
    y = scores_of(BASE)
    first = TASK.read(TASK.reading("y"), y)
    last = TASK.read(TASK.reading("y", options={"classes": "last"}), np.moveaxis(y, 1, 3))
    index = TASK.read(TASK.reading("y", integers=True), BASE[:, None].astype(np.uint8))
    for read in (first, last, index):
        np.testing.assert_array_equal(read, BASE)
    one = TASK.read(TASK.reading("y", threshold=0.5), np.where(BASE == 1, 0.9, 0.1)[..., None])
    np.testing.assert_array_equal(one, BASE == 1)
    y[0, 1, 2, 3] = np.nan
    assert TASK.read(TASK.reading("y"), y)[0, 2, 3] == NO_ANSWER
    with pytest.raises(DataError, match="a sample, not scores of 2 to 255 classes on its first axis"):
        TASK.read(TASK.reading("y"), y[:, :, 0])
    with pytest.raises(ConfigurationError, match="clases"):
        TASK.read_options({"clases": "last"})


def test_small_outputs_are_enlarged_to_the_masks() -> None:
    small = BASE[:, ::2, ::2]
    metrics = rows(samples(scores_of(small)), labels=LABELS, task="segmentation")
    large = small.repeat(2, axis=1).repeat(2, axis=2)
    counted = LABELS >= 0
    expected = accuracy_score(LABELS[counted], large[counted])
    assert metrics["pixel_accuracy", ""].value == pytest.approx(expected, abs=1e-9)


def test_a_sample_scores_its_mean_iou_and_chance_is_the_commonest_class() -> None:
    scores, chance = TASK.score(WORSE.astype(np.int16), LABELS), TASK.chance(LABELS)
    commonest = np.bincount(LABELS[LABELS >= 0]).argmax()
    for sample in range(N):
        counted = LABELS[sample] >= 0
        truth, classes = LABELS[sample][counted], np.unique(LABELS[sample][counted])
        for value, answer in ((scores, WORSE[sample][counted]), (chance, np.full(truth.shape, commonest))):
            expected = jaccard_score(truth, answer, labels=classes, average="macro", zero_division=0)
            assert value[sample] == pytest.approx(expected, abs=1e-12)
    assert TASK.score(np.where(LABELS < 0, 0, LABELS), LABELS).tolist() == [1.0] * N
    assert TASK.score(WORSE.astype(np.int16), np.full_like(LABELS, -1)).tolist() == [1.0] * N


def folder_of(tmp_path: Path, size: tuple[int, int] = (12, 16)) -> tuple[Path, Path, list[NDArray[Any]]]:
    images, labels, written = tmp_path / "images", tmp_path / "masks", []
    images.mkdir()
    labels.mkdir()
    for name in "abc":
        mask = RNG.integers(0, CLASSES, size).astype(np.uint8)
        mask[0, 0] = 255
        Image.fromarray(RNG.integers(0, 255, (*size, 3)).astype(np.uint8)).save(images / f"{name}.jpg")
        Image.fromarray(mask).save(labels / f"{name}.png")
        written.append(mask)
    return images, labels, written


def source(images: Path, labels: Path | None, image: ImageRecipe | None = None) -> LabelSource:
    files = tuple(sorted(images.glob("*.jpg")))
    return LabelSource(images, labels, files, np.arange(len(files)), {}, image, Options())


@pytest.mark.parametrize("resize", ["stretch", "cover", "contain"])
def test_masks_of_a_folder_are_resized_as_the_images_without_mixing_classes(
    tmp_path: Path, resize: str
) -> None:
    images, labels, written = folder_of(tmp_path)
    recipe = ImageRecipe(size=(8, 8), resize=resize, colour="RGB")
    read = HOST.read_labels(source(images, labels, recipe))
    assert read is not None
    nearest = ImageRecipe(size=(8, 8), resize=resize, method="nearest", pad=255)
    expected = [apply_recipe(nearest, mask[..., None])[..., 0] for mask in written]
    np.testing.assert_array_equal(read.labels, expected)
    assert HOST.recognises(labels)
    assert not HOST.recognises(images), "colours are no classes"
    truth = HOST.truth(GivenLabels(read.labels, (), CLASSES, np.arange(3), "masks")).labels
    assert truth.dtype == np.int16
    np.testing.assert_array_equal(truth, np.where(read.labels == 255, -1, read.labels.astype(int)))
    assert HOST.read_labels(source(images, None)) is None


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
def test_ignored_pixels_of_any_type_do_not_count(dtype: str) -> None:
    labels = np.array([[[0, 255], [1, 2]]], dtype)
    read = HOST.truth(GivenLabels(labels[:, None], (), CLASSES, np.arange(1), "masks")).labels
    assert read.tolist() == [[[0, -1], [1, 2]]]
    other = GivenLabels(
        np.array([[[0, 2], [1, 2]]], dtype), (), 2, np.arange(1), "m", options=Options(ignore=2)
    )
    assert HOST.truth(other).labels.tolist() == [[[0, -1], [1, -1]]]


def test_masks_that_do_not_fit_are_named(tmp_path: Path) -> None:
    images, labels, written = folder_of(tmp_path)
    with pytest.raises(DataError, match="masks have classes that the model does not have: sample 0"):
        HOST.truth(GivenLabels(np.stack(written), (), 2, np.arange(3), "masks"))
    with pytest.raises(DataError, match=r"labels of shape \(3,\) .* are no masks"):
        HOST.truth(GivenLabels(np.arange(3), (), 2, np.arange(3), "masks"))
    Image.fromarray(written[1][:5]).save(labels / "b.png")
    with pytest.raises(DataError, match=r"the mask b\.png has 5x16 pixels, its image 12x16"):
        HOST.read_labels(source(images, labels))
    Image.fromarray(np.zeros((12, 16, 3), np.uint8)).save(labels / "b.png")
    with pytest.raises(DataError, match="holds colours"):
        HOST.read_labels(source(images, labels))
    (labels / "b.png").unlink()
    with pytest.raises(DataError, match=r"1 of 3 images have no mask, first b\.jpg"):
        HOST.read_labels(source(images, labels))


def test_masks_of_an_array_go_by_the_position_of_the_samples(tmp_path: Path) -> None:
    images, _, written = folder_of(tmp_path)
    np.save(tmp_path / "masks.npy", np.stack(written))
    of_two = source(images, tmp_path / "masks.npy")
    of_two = LabelSource(of_two.path, of_two.labels, of_two.files[:2], np.array([2, 0]), {})
    read = masks.read(of_two, 255)
    assert read is not None
    np.testing.assert_array_equal(read.labels, [written[2], written[0]])
    np.save(tmp_path / "masks.npy", np.stack(written[:1]))
    with pytest.raises(DataError, match="1 masks"):
        masks.read(of_two, 255)


def test_init_reads_scores_on_either_axis_where_labels_are_masks() -> None:
    y = scores_of(BASE)
    ways = HOST.candidates(Question({"y": y, "pooled": y[:, :, 0, 0]}, LABELS))
    assert [way.reading.options.classes for way in ways] == ["first", "last"]
    ways = HOST.candidates(Question({"y": np.moveaxis(y, 1, 3)}, LABELS))
    assert ways[0].reading.options.classes == "last"
    (way,) = HOST.candidates(Question({"y": y[:, :1]}, LABELS))
    assert way.reading.threshold == 0.0
    assert HOST.candidates(Question({"y": y}, np.arange(N))) == []
    with pytest.raises(DataError, match="no output holds masks"):
        HOST.candidates(Question({"y": y[:, :, 0, 0]}, LABELS, asked=True))
