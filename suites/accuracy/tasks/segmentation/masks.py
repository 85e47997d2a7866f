"""Masks as labels: PNG files beside the images, or an array of all masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.core.task import NO_ANSWER
from harness.data.image_files import upright_size
from harness.data.images import ImageRecipe, apply_recipe
from harness.tasks.host import GivenLabels, LabelSet, LabelSource

SUFFIXES = (".png", ".bmp", ".gif", ".tif", ".tiff")
#: Modes of Pillow whose pixels are numbers of classes: a palette, grey, 1 bit, and 16 or 32 bits.
MODES = ("P", "L", "1", "I;16", "I")


def read(source: LabelSource, ignore: int) -> LabelSet | None:
    """Read the masks that belong to the samples; None where ``[data] labels`` names none.

    Raises
    ------
    DataError
        A sample has no mask, or a mask is no image of classes or has another size than its image.
    """
    if source.labels is None:
        return None
    if source.labels.is_dir():
        return LabelSet(_of_folder(source, ignore), notes=(f"masks come from {source.labels.name}",))
    return LabelSet(_of_array(source))


def is_folder_of_masks(labels: Path) -> bool:
    """Whether a folder holds images whose pixels are numbers of classes."""
    files = _files(labels) if labels.is_dir() else []
    return bool(files) and _mode(files[0]) in MODES


def _of_array(source: LabelSource) -> NDArray[Any]:
    path = source.labels
    assert path is not None
    try:
        masks = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path.name} is neither a folder of masks nor a .npy file: {error}", where=str(path),
            next_step="save masks as one array: np.save(path, masks)",
        ) from error  # fmt: skip
    if len(masks) <= source.ids.max(initial=-1):
        raise DataError(f"{path.name} has {len(masks)} masks, the data more samples", where=str(path))
    chosen: NDArray[Any] = masks[source.ids]
    return chosen


def _of_folder(source: LabelSource, ignore: int) -> NDArray[np.uint16]:
    folder = source.labels
    assert folder is not None
    if not source.files:
        raise DataError(
            "a folder of masks needs a folder of images",
            where=str(folder),
            next_step='give the masks of arrays as one array: labels = "masks.npy"',
        )
    by_stem = _by_stem(_files(folder))
    missing = [file.name for file in source.files if file.stem not in by_stem]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(source.files)} images have no mask, first {', '.join(missing[:3])}",
            where=str(folder),
            cause=f"masks are called like images: {source.files[0].stem}.png",
            next_step="rename the masks, or leave the images out: [data] skip",
        )
    recipe = source.image or ImageRecipe()
    # Numbers of classes are not mixed, and what was padded does not count.
    recipe = replace(recipe, method="nearest", antialias=True)
    masks = [_mask(file, by_stem[file.stem], recipe, ignore) for file in source.files]
    sizes = {mask.shape for mask in masks}
    if len(sizes) > 1:
        raise DataError(
            f"masks have different sizes: {sorted(sizes)[:3]}",
            where=str(folder),
            next_step="resize the images: [data.image] size and resize",
        )
    return np.stack(masks)


def _mask(image: Path, file: Path, recipe: ImageRecipe, ignore: int) -> NDArray[np.uint16]:
    from PIL import Image

    try:
        with Image.open(file) as opened:
            mode, pixels = opened.mode, np.asarray(opened)
    except (OSError, ValueError) as error:
        raise DataError(f"{file.name} cannot be decoded: {error}", where=str(file)) from error
    if mode not in MODES:
        raise DataError(
            f"the mask {file.name} holds colours ({mode}), not numbers of classes",
            where=str(file),
            next_step="save it with a palette or in grey, a number a class",
        )
    size = upright_size(image)
    if size is not None and pixels.shape != size:
        raise DataError(
            f"the mask {file.name} has {_text(pixels.shape)} pixels, its image {_text(size)}",
            where=str(file),
            cause="the mask is of another image, or the image is turned by its EXIF data",
            next_step="give masks in the size of their images",
        )
    if pixels.min() < 0 or pixels.max() > np.iinfo(np.uint16).max:
        raise DataError(f"the mask {file.name} has values outside 0 to 65535", where=str(file))
    # Two bytes, so that classes and what is ignored have room; resized byte by byte, each to the nearest.
    joined: Any = 0
    for shift in (0, 8):
        part = (pixels.astype(np.uint16) >> shift & 255).astype(np.uint8)[..., np.newaxis]
        padded = replace(recipe, pad=ignore >> shift & 255)
        joined = joined | (apply_recipe(padded, part)[..., 0].astype(np.uint16) << shift)
    mask: NDArray[np.uint16] = joined
    return mask


def _text(size: Sequence[int]) -> str:
    return "x".join(map(str, size))


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)


def _by_stem(files: Sequence[Path]) -> Mapping[str, Path]:
    by_stem: dict[str, Path] = {}
    for file in files:
        other = by_stem.setdefault(file.stem, file)
        if other != file:
            raise DataError(
                f"two masks are called {file.stem}", where=f"{other}, {file}", next_step="rename one of them"
            )
    return by_stem


def _mode(file: Path) -> str:
    from PIL import Image

    try:
        with Image.open(file) as opened:
            return str(opened.mode)
    except (OSError, ValueError):
        return ""


def truth(given: GivenLabels, ignore: int) -> LabelSet:
    """Read masks as int16 of shape (n, height, width), -1 where a pixel does not count.

    Raises
    ------
    DataError
        They are no masks, or have classes that the model does not have.
    """
    masks, where = given.labels, given.where
    planes = masks.reshape(len(masks), *[size for size in masks.shape[1:] if size != 1])
    if planes.ndim != 3 or planes.dtype.kind not in "iubf":
        raise DataError(
            f"labels of shape {masks.shape} and type {masks.dtype} are no masks",
            where=where,
            cause="a mask has a class for each pixel: shape [samples, height, width]",
            next_step="name the folder or the .npy file of the masks: [data] labels (harness init --labels)",
        )
    if planes.dtype.kind == "f" and not (planes == np.rint(planes)).all():
        raise DataError("masks hold numbers that are not whole", where=where, next_step="save whole numbers")
    counted = (planes != ignore) & (planes != NO_ANSWER)
    wrong = counted & ((planes < 0) | (planes >= (given.scores or 2**15)))
    if wrong.any():
        sample = int(wrong.any(axis=(1, 2)).argmax())
        value = planes[sample][wrong[sample]][0]
        raise DataError(
            f"{int(wrong.any(axis=(1, 2)).sum())} of {len(planes)} masks have classes that the model does "
            f"not have: sample {given.ids[sample]} (from 0) has {value}",
            where=where,
            cause=f"classes run from 0 to {(given.scores or 2**15) - 1}; {ignore} is ignored",
            next_step="set [task] ignore to the value of pixels that do not count, or fix the masks",
        )
    # Widened first: -1 in an array of bytes is 255.
    return LabelSet(np.where(counted, planes.astype(np.int16), NO_ANSWER), given.names)
