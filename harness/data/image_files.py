"""Decode image files with Pillow, and say what was converted and what is damaged."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from harness.core.commands import install
from harness.core.errors import DataError
from harness.data.files import MAX_BYTES, check_bytes
from harness.data.images import ImageRecipe, apply_recipe

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = npt.NDArray[np.uint8]

#: Formats that Pillow only identifies, or for which it starts another program.
_NOT_DECODED = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "WMF"})
_EIGHT_BITS = frozenset(
    ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
)
#: Pillow's names of the layouts that it reduces to 8 bits per channel while it decodes.
_SIXTEEN = re.compile(r"\b(RGB|RGBA|RGBX|LA|CMYK);16")
_ALPHA = ("LA", "PA", "RGBA", "RGBa")
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
#: Names of files in a message.
_LISTED = 8


class _Damaged(Exception):
    """A file that Pillow does not decode; its text is the reason."""


class _Unsupported(Exception):
    """An image that has no 8-bit pixels; its text is what it has."""


@cache
def suffixes() -> frozenset[str]:
    """Return the suffixes, in lower case, of the files that Pillow decodes here."""
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(
            "image files need Pillow, which is not installed", next_step=install("host")
        ) from error
    Image.init()
    decoded = set(Image.OPEN) - _NOT_DECODED
    return frozenset(suffix for suffix, fmt in Image.registered_extensions().items() if fmt in decoded)


def read_images(
    files: Sequence[Path], recipe: ImageRecipe, *, root: Path | None = None, max_bytes: int = MAX_BYTES
) -> tuple[Pixels, tuple[str, ...]]:
    """Decode files and apply the recipe.

    Parameters
    ----------
    root : Path, optional
        Messages name the files relative to this folder.
    max_bytes : int
        Largest size of the result.

    Returns
    -------
    pixels : ndarray, shape (n, h, w, c), uint8
    notes : tuple of str
        What was converted, and what Pillow warned about.

    Raises
    ------
    DataError
        Files are damaged, have no 8-bit pixels, or give images of different size; all such files are counted.
    """
    if problems := recipe.problems():
        raise DataError("the image recipe is invalid: " + "; ".join(problems), where="[data] image")
    images: list[Pixels] = []
    damaged: dict[Path, str] = {}
    unsupported: dict[Path, str] = {}
    remarks: dict[str, list[str]] = {}
    modes: Counter[str] = Counter()
    for file in files:
        try:
            pixels, mode, details = _decode(file, recipe.colour, max_bytes)
        except _Damaged as error:
            damaged[file] = str(error)
            continue
        except _Unsupported as error:
            unsupported[file] = str(error)
            continue
        image = apply_recipe(recipe, pixels)
        if not images:
            check_bytes(root or file, image.nbytes * len(files), max_bytes, f"{len(files):,} decoded images")
        elif image.shape != images[0].shape:
            raise DataError(
                f"{file.name} is an image of {image.shape[0]}×{image.shape[1]} pixels among images of "
                f"{images[0].shape[0]}×{images[0].shape[1]}",
                where=str(file),
                next_step='set a size and resize = "stretch", "cover" or "contain"',
            )
        images.append(image)
        modes[mode] += 1
        for remark, detail in details.items():
            remarks.setdefault(remark, []).append(f"{_name(file, root)}{detail}")
    _refuse(damaged, unsupported, len(files), root)
    notes = [
        f"{len(those)} of {len(files)} images {remark}; the first is {those[0]}"
        for remark, those in remarks.items()
    ]
    if len(modes) > 1:
        kinds = ", ".join(f"{count} {mode}" for mode, count in modes.most_common())
        notes.insert(0, f"images of several modes are converted to {recipe.colour}: {kinds}")
    return np.stack(images), tuple(notes)


def read_pixels(file: Path, colour: str, *, is_upright: bool = True, max_bytes: int = MAX_BYTES) -> Pixels:
    """Decode one file without a recipe.

    Parameters
    ----------
    is_upright : bool
        False leaves the pixels as they are stored, whatever the EXIF data say.

    Returns
    -------
    ndarray, shape (h, w, c), uint8

    Raises
    ------
    DataError
        The file cannot be decoded.
    """
    try:
        return _decode(file, colour, max_bytes, is_upright=is_upright)[0]
    except (_Damaged, _Unsupported) as error:
        raise DataError(f"{file.name} cannot be decoded: {error}", where=str(file)) from error


def damaged_files(files: Iterable[Path]) -> list[Path]:
    """Return the files that cannot be decoded."""
    return [file for file in files if _is_damaged(file)]


def _is_damaged(file: Path) -> bool:
    try:
        _decode(file, "RGB", MAX_BYTES)
    except _Damaged:
        return True
    except (_Unsupported, DataError):
        pass  # it can be decoded, but not used
    return False


def upright_size(file: Path) -> tuple[int, int] | None:
    """Return height and width as the image is shown, from its header; None if it has no readable header."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # reading the pixels collects them
        try:
            with Image.open(file) as image:
                turned = image.getexif().get(_ORIENTATION) in _TURNED
                return (image.width, image.height) if turned else (image.height, image.width)
        except Exception:  # noqa: BLE001 - Pillow's plugins raise anything; reading the pixels reports it
            return None


def _decode(
    file: Path, colour: str, max_bytes: int, *, is_upright: bool = True
) -> tuple[Pixels, str, dict[str, str]]:
    """Decode one file to shape (h, w, c), uint8, upright by its EXIF data unless that is not wanted.

    Returns
    -------
    pixels, mode
    remarks : dict
        What to say about the file → details.
    """
    from PIL import Image, ImageOps

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with Image.open(file) as image:
                check_bytes(file, 3 * image.width * image.height, max_bytes, "the decoded image")
                remarks = _remarks(image)
                if image.mode not in _EIGHT_BITS:
                    bits = "16-bit" if image.mode.startswith("I;16") else "32-bit"
                    raise _Unsupported(f"{bits} pixels (mode {image.mode})")
                upright = ImageOps.exif_transpose(image) if is_upright else image
                if upright.mode in _ALPHA or "transparency" in upright.info:
                    upright = upright.convert("RGBA")
                    if upright.getchannel("A").getextrema() != (255, 255):
                        remarks["have transparency: the colours are used, without the transparency"] = ""
                converted = upright.convert("L" if colour == "L" else "RGB")
        except (_Unsupported, DataError):
            raise
        except Exception as error:  # the plugins of Pillow raise anything for a damaged file
            raise _Damaged(_reason(file, error)) from error
    if caught:
        remarks["made Pillow warn"] = f": {str(caught[0].message)[:120].strip()}"
    pixels = np.asarray(converted)
    if colour == "L":
        pixels = pixels[..., np.newaxis]
    elif colour == "BGR":
        pixels = np.ascontiguousarray(pixels[..., ::-1])
    return pixels, image.mode, remarks


def _reason(file: Path, error: Exception) -> str:
    if not file.stat().st_size:
        return "the file is empty"
    if type(error).__name__ == "UnidentifiedImageError":  # its text is only the path
        return "not a format that Pillow knows"
    return str(error) or type(error).__name__


def _remarks(image: Image) -> dict[str, str]:
    """Return what conversion to 8 bits of one colour space leaves out."""
    remarks = {}
    if image.mode in ("CMYK", "LAB"):
        remarks[f"are {image.mode}, converted to RGB without their colour profile"] = ""
    layouts = [str(tile[3]) for tile in getattr(image, "tile", ())]
    if image.mode in _EIGHT_BITS and any(map(_SIXTEEN.search, layouts)):
        remarks["have 16 bits per channel, of which the upper 8 are used"] = ""
    if getattr(image, "is_animated", False):
        remarks["have several frames, of which the first is used"] = ""
    return remarks


def _refuse(damaged: dict[Path, str], unsupported: dict[Path, str], total: int, root: Path | None) -> None:
    """Raise an error with all files that cannot be used."""
    if damaged:
        names = [_name(file, root) for file in damaged]
        listed = [f"{name} ({reason})" for name, reason in zip(names, damaged.values(), strict=True)]
        skip = ", ".join(f'"{name}"' for name in names[:_LISTED])
        raise DataError(
            f"{len(damaged)} of {total} image files cannot be decoded: {_some(listed)}",
            where=str(root or next(iter(damaged))),
            cause="the files are damaged, not images, or larger than Pillow's limit",
            next_step="repair or remove them, or leave them out: harness init --skip-damaged, or "
            f"[data] skip = [{skip}{', …' if len(names) > _LISTED else ''}]",
        )
    if unsupported:
        listed = [f"{_name(file, root)} has {what}" for file, what in unsupported.items()]
        raise DataError(
            f"{len(unsupported)} of {total} images have more than 8 bits per channel: {_some(listed)}",
            where=str(root or next(iter(unsupported))),
            cause="only 8-bit images are supported: how to scale others is part of the model's training",
            next_step="convert the images to 8 bits, or save the pixels as .npz in the dtype of the model",
        )


def _some(texts: Sequence[str]) -> str:
    return "; ".join(texts[:_LISTED]) + (f"; and {len(texts) - _LISTED} more" if len(texts) > _LISTED else "")


def _name(file: Path, root: Path | None) -> str:
    return file.relative_to(root).as_posix() if root is not None and file.is_relative_to(root) else file.name
