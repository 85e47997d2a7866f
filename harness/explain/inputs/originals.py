"""The image files of the samples, and what other pipelines would make of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.data.image_files import read_pixels
from harness.data.images import ImageRecipe, apply_recipe, centre
from harness.explain.inputs.resampling import ALIGNED, CORNER, Method, resize

#: Files that are decoded once.
DECODED = 16
#: What a ``validation.toml`` can say, exactly as the harness does it.
RECIPES: dict[str, dict[str, Any]] = {
    "nearest": {"method": "nearest", "antialias": False},
    "bilinear": {"method": "bilinear", "antialias": True},
    "bilinear without antialiasing": {"method": "bilinear", "antialias": False},
    "bicubic": {"method": "bicubic", "antialias": True},
    "lanczos": {"method": "lanczos", "antialias": True},
    "box": {"method": "box", "antialias": True},
}
#: What other libraries do: OpenCV, TensorFlow, PyTorch, and Pillow where a pixel lies between two.
METHODS = (
    ("nearest", Method("nearest", is_summed=True)),
    ("area", Method("area")),
    ("bicubic without antialiasing", Method("bicubic of OpenCV")),
    ("bicubic without antialiasing", Method("bicubic")),
    ("nearest from the upper left corner of pixels", Method("nearest", grid=CORNER)),
    ("bilinear from the upper left corner of pixels", Method("bilinear", grid=CORNER)),
    ("bilinear with aligned corners", Method("bilinear", grid=ALIGNED)),
    ("nearest with aligned corners", Method("nearest", grid=ALIGNED)),
    ("bicubic with aligned corners", Method("bicubic of OpenCV", grid=ALIGNED)),
    ("lanczos without antialiasing", Method("lanczos")),
)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """How an image file becomes the pixels of a sample.

    Parameters
    ----------
    recipe : ImageRecipe
    method : Method, optional
        Instead of the recipe's, and its result is not rounded before the end.
    is_upright : bool
        The EXIF data are used.
    is_real : bool
        The result stays in floating point.
    """

    recipe: ImageRecipe
    method: Method | None = None
    is_upright: bool = True
    is_real: bool = False

    def pixels(self, file: Path) -> NDArray[Any]:
        """Decode, resize, crop and pad one file.

        Raises
        ------
        DataError
            The file cannot be decoded any more.
        """
        pixels = _decoded(file, self.recipe.colour, is_upright=self.is_upright)
        if self.method is None and not self.is_real:
            return apply_recipe(self.recipe, pixels)
        method = self.method or Method(self.recipe.method, self.recipe.antialias)
        return _resized(self.recipe, pixels, method, is_real=self.is_real)


def _resized(
    recipe: ImageRecipe, pixels: NDArray[np.uint8], method: Method, *, is_real: bool
) -> NDArray[Any]:
    if recipe.size is None:
        return pixels
    scaled = apply_scale(recipe, pixels.shape[0], pixels.shape[1])
    real = resize(pixels.astype(np.float64), scaled, method) if scaled != pixels.shape[:2] else pixels
    framed = np.asarray(real, np.float32) if is_real else np.clip(np.rint(real), 0, 255).astype(np.uint8)
    return framed if scaled == recipe.size else centre(framed, recipe.size, pad=recipe.pad)


def apply_scale(recipe: ImageRecipe, height: int, width: int) -> tuple[int, int]:
    """Size that an image is resized to, before it is cropped or padded (see ``apply_recipe``)."""
    assert recipe.size is not None
    if recipe.resize == "none":
        return height, width
    if recipe.resize == "stretch":
        return recipe.size
    ratios = (recipe.size[0] / height, recipe.size[1] / width)
    if recipe.resize == "cover":
        ratio = max(ratios) / recipe.crop
        return int(height * ratio + 1e-6), int(width * ratio + 1e-6)
    return max(1, round(height * min(ratios))), max(1, round(width * min(ratios)))


@lru_cache(maxsize=DECODED)
def _decoded(file: Path, colour: str, *, is_upright: bool) -> NDArray[np.uint8]:
    return read_pixels(file, colour, is_upright=is_upright)


Change = Callable[[Pipeline], Pipeline]


@dataclass(frozen=True, slots=True)
class Originals:
    """Where the samples of an input come from.

    Parameters
    ----------
    files : tuple of Path
        One for each sample.
    recipe : ImageRecipe
        What made the samples of them.
    """

    files: tuple[Path, ...]
    recipe: ImageRecipe

    def made(self, rows: Sequence[int], pipeline: Pipeline) -> NDArray[Any] | None:
        """Samples of a pipeline; None where a file is not what it was, or sizes differ."""
        try:
            images = [pipeline.pixels(self.files[row]) for row in rows]
        except (DataError, OSError, IndexError):
            return None
        return np.stack(images) if len({image.shape for image in images}) == 1 else None

    def are_those_of(self, raw: NDArray[Any], rows: Sequence[int]) -> bool:
        """Whether the files still give these samples."""
        made = self.made(rows, Pipeline(self.recipe))
        return made is not None and np.array_equal(made, raw)

    def others(self) -> Iterator[tuple[str, str, Change]]:
        """Yield other ways to make the samples, the likeliest first: kind, words, and the change."""
        yield "exif", "without the rotation of the EXIF data", lambda usual: replace(usual, is_upright=False)
        if self.recipe.size is None:
            return
        if self.recipe.resize != "none":
            yield from self._methods()
        yield from self._fits()

    def _methods(self) -> Iterator[tuple[str, str, Change]]:
        used = _name(self.recipe)
        for name, changes in RECIPES.items():
            if name != used:
                yield "resize", f"resized by {name} and not by {used}", partial(_with_recipe, changes=changes)
        for name, method in METHODS:
            if name != used:
                text = f"resized by {name} and not by {used}"
                yield "resize", text, partial(replace, method=method)
        yield "rounding", "resized without rounding to 8 bits", partial(replace, is_real=True)

    def _fits(self) -> Iterator[tuple[str, str, Change]]:
        fits: list[tuple[str, dict[str, Any]]] = [
            ("stretched to the frame", {"resize": "stretch"}),
            ("resized to cover the frame and cropped", {"resize": "cover", "crop": 1.0}),
            ("resized to cover the frame by a margin of 8/7 and cropped", {"resize": "cover", "crop": 0.875}),
            ("cropped to the frame without resizing", {"resize": "none"}),
            *(
                (f"fitted into the frame with a border of {pad}", {"resize": "contain", "pad": pad})
                for pad in (0, 114, 128, 255)
            ),
        ]
        for text, changes in fits:
            if replace(self.recipe, **changes) != self.recipe:
                words = f"{text}, not as [data.image] says"
                yield "frame", words, partial(_with_recipe, changes=changes)


def _with_recipe(pipeline: Pipeline, changes: Mapping[str, Any]) -> Pipeline:
    return replace(pipeline, recipe=replace(pipeline.recipe, **changes))


def _name(recipe: ImageRecipe) -> str:
    wanted = recipe.method, recipe.antialias and recipe.method != "nearest"
    return next(name for name, one in RECIPES.items() if (one["method"], one["antialias"]) == wanted)
