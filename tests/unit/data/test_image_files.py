"""Whatever Pillow decodes becomes pixels; what it converts is noted, and what it cannot decode is listed."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from harness.core.errors import DataError
from harness.data.image_files import damaged_files, read_images, suffixes, upright_size
from harness.data.images import ImageRecipe

Pixels = npt.NDArray[np.uint8]


def pixels_of(height: int, width: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def one(file: Path, colour: str = "RGB") -> tuple[Pixels, tuple[str, ...]]:
    pixels, notes = read_images([file], ImageRecipe(colour=colour))
    return pixels[0], notes


@pytest.mark.parametrize(
    "suffix", ["bmp", "gif", "jpg", "jpeg", "jpe", "jfif", "png", "ppm", "pgm", "tif", "tiff", "webp", "tga"]
)
def test_suffixes_of_pillow(suffix: str) -> None:
    assert f".{suffix}" in suffixes()


@pytest.mark.parametrize("suffix", [".pdf", ".eps", ".txt", ".npy", ".h5"])
def test_suffixes_that_are_not_images(suffix: str) -> None:
    assert suffix not in suffixes()


def test_colours_and_orientation(tmp_path: Path) -> None:
    image = pixels_of(6, 4)
    Image.fromarray(image).save(tmp_path / "a.png")
    np.testing.assert_array_equal(one(tmp_path / "a.png")[0], image)
    np.testing.assert_array_equal(one(tmp_path / "a.png", "BGR")[0], image[..., ::-1])
    luma = image @ np.array([0.299, 0.587, 0.114])
    assert np.abs(one(tmp_path / "a.png", "L")[0][..., 0] - luma).max() <= 1
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(image).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(one(tmp_path / "turned.png")[0], np.rot90(image, -1))
    assert upright_size(tmp_path / "turned.png") == (4, 6)
    assert upright_size(tmp_path / "a.png") == (6, 4)


def test_a_palette_with_transparent_entries_is_decoded_without_a_warning(tmp_path: Path) -> None:
    image = pixels_of(8, 8) // 64 * 64
    palette = Image.fromarray(image).quantize(64)
    palette.save(tmp_path / "p.png", transparency=bytes([0] * 3 + [255] * 61))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels, notes = one(tmp_path / "p.png")
    np.testing.assert_array_equal(pixels, np.asarray(palette.convert("RGB")))
    assert len(notes) == 1
    assert "1 of 1 images have transparency" in notes[0]
    assert "p.png" in notes[0]


@pytest.mark.parametrize("colour", ["RGB", "L"])
@pytest.mark.parametrize("opaque", [True, False])
def test_an_alpha_channel_is_left_out(tmp_path: Path, colour: str, opaque: bool) -> None:
    image = pixels_of(5, 5)
    alpha = np.full((5, 5, 1), 255, np.uint8)
    alpha[0, 0] = 255 if opaque else 9
    Image.fromarray(np.concatenate([image, alpha], axis=2)).save(tmp_path / "a.png")
    pixels, notes = one(tmp_path / "a.png", colour)
    np.testing.assert_array_equal(
        pixels[..., 0], np.asarray(Image.fromarray(image).convert(colour)).reshape(5, 5, -1)[..., 0]
    )
    assert bool(notes) == (not opaque)


def test_grey_with_alpha_stays_grey(tmp_path: Path) -> None:
    grey = pixels_of(5, 5)[..., 0]
    Image.fromarray(np.stack([grey, grey // 2], axis=2), "LA").save(tmp_path / "a.png")
    np.testing.assert_array_equal(one(tmp_path / "a.png", "L")[0][..., 0], grey)


def test_cmyk_is_converted_with_a_note(tmp_path: Path) -> None:
    Image.fromarray(pixels_of(16, 16)).convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    pixels, notes = one(tmp_path / "a.jpg")
    assert pixels.shape == (16, 16, 3)
    assert "CMYK" in notes[0]


def test_the_first_of_several_frames_is_used_with_a_note(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((4, 4), level, np.uint8)) for level in (10, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    pixels, notes = one(tmp_path / "a.gif", "L")
    assert (pixels == 10).all()
    assert "frames" in notes[0]


def test_sixteen_bit_colour_keeps_the_upper_bits_with_a_note(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    values = np.arange(2 * 2 * 3, dtype=np.uint16).reshape(2, 2, 3) * 5000
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(content + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    pixels, notes = one(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels, values >> 8)
    assert "16 bits per channel" in notes[0]


@pytest.mark.parametrize(
    ("dtype", "says"), [(np.uint16, "16-bit"), (np.int32, "32-bit"), (np.float32, "32-bit")]
)
def test_deep_grey_images_are_refused_by_what_they_are(tmp_path: Path, dtype: Any, says: str) -> None:
    Image.fromarray(np.full((4, 4), 4000, dtype=dtype)).save(tmp_path / "deep.tiff")
    with pytest.raises(DataError, match=rf"1 of 1 images have more than 8 bits .* deep\.tiff has {says}"):
        one(tmp_path / "deep.tiff", "L")


def damage(file: Path, how: str) -> None:
    content = file.read_bytes()
    file.write_bytes({"empty": b"", "text": b"not an image", "truncated": content[: len(content) // 2]}[how])


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("how", ["empty", "text", "truncated"])
def test_damaged_files_are_all_listed(tmp_path: Path, suffix: str, how: str) -> None:
    files = [tmp_path / "cat" / f"{i}.{suffix}" for i in range(4)]
    (tmp_path / "cat").mkdir()
    for file in files:
        Image.fromarray(pixels_of(40, 40)).save(file)
    damage(files[1], how)
    damage(files[3], how)
    with pytest.raises(DataError, match="2 of 4 image files cannot be decoded") as caught:
        read_images(files, ImageRecipe(), root=tmp_path)
    for file in (files[1], files[3]):
        assert f"cat/{file.name}" in caught.value.what
        assert f'"cat/{file.name}"' in caught.value.next_step
    assert "--skip-damaged" in caught.value.next_step
    assert damaged_files(files) == [files[1], files[3]]


def test_what_pillow_warns_about_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)
    files = []
    for side in (8, 9):  # each has its own text
        files.append(tmp_path / f"{side}.png")
        Image.fromarray(pixels_of(side, side)).save(files[-1])
    _, notes = read_images(files, ImageRecipe(size=(8, 8), resize="stretch"))
    assert len(notes) == 1
    assert "2 of 2 images made Pillow warn; the first is 8.png: Image size (64 pixels)" in notes[0]


def test_a_limit_of_bytes(tmp_path: Path) -> None:
    Image.fromarray(pixels_of(10, 10)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="the decoded image has 300 bytes, more than max_bytes = 200"):
        read_images([tmp_path / "a.png"], ImageRecipe(), max_bytes=200)
    with pytest.raises(DataError, match=r"2 decoded images has 600 bytes"):
        read_images([tmp_path / "a.png"] * 2, ImageRecipe(), max_bytes=400)


def test_images_of_unequal_size_need_a_recipe(tmp_path: Path) -> None:
    files = []
    for side in (8, 9):
        files.append(tmp_path / f"{side}.png")
        Image.fromarray(pixels_of(side, side)).save(files[-1])
    with pytest.raises(DataError, match="9×9") as caught:
        read_images(files, ImageRecipe())
    assert "resize" in caught.value.next_step
    assert read_images(files, ImageRecipe(size=(8, 8), resize="stretch"))[0].shape == (2, 8, 8, 3)


def test_images_of_several_modes_are_counted(tmp_path: Path) -> None:
    files = []
    for i, mode in enumerate(["RGB", "RGB", "L"]):
        files.append(tmp_path / f"{i}.png")
        Image.fromarray(pixels_of(4, 4)).convert(mode).save(files[-1])
    assert read_images(files, ImageRecipe())[1] == (
        "images of several modes are converted to RGB: 2 RGB, 1 L",
    )
    assert read_images(files[:2], ImageRecipe())[1] == ()
