"""The eleven families of ImageNet-C that are not our own code, by the library imagecorruptions-imaug.

It is the maintained copy of the code of Hendrycks & Dietterich (ICLR 2019). It draws from NumPy's global
state; here each sample seeds it from its own stream, so that a subset of a set, or the set in another order,
gets the same pixels. What else the library asks for is made around it: 32 pixels a side, and three channels.
The reasons are in docs/decisions/0024-eleven-families-by-a-library.md.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from functools import cache, partial
from importlib.metadata import version
from io import StringIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.commands import install
from harness.data.shifts.family import About, Family, Kind, Streams, Values
from harness.data.shifts.image import HENDRYCKS

LIBRARY = "imagecorruptions"
#: Distributions whose versions decide the pixels.
DECIDING = ("imagecorruptions-imaug", "numba", "numpy", "opencv-python", "pillow", "scikit-image", "scipy")
SMALLEST_SIDE = 32
#: Of three equal channels that were made of a grey one: some families colour them.
GREEN = 1


def library_missing() -> str:
    """Why the library cannot be used here, and the command that installs it; empty where it can."""
    try:
        _library()
    except ImportError as error:
        hint = f"{install('shifts')}; a missing libGL.so.1 is in Debian's package libgl1"
        return f"the library imagecorruptions-imaug cannot be imported ({error}): {hint}"
    return ""


@cache
def _library() -> Any:  # noqa: ANN401 - untyped
    code: Any = importlib.import_module(f"{LIBRARY}.corruptions")
    code.cv2.setNumThreads(1)  # there is a process for each core
    code.cv2 = _CachedImages(code.cv2)
    with suppress(RuntimeError):  # numba finds no folder that it may write to
        code._shuffle_pixels_njit_glass_blur.enable_caching()  # it compiles for seconds in each process
    return importlib.import_module(LIBRARY)


class _CachedImages:
    """OpenCV that reads and enlarges the images of frost once: for each sample it takes most of the time."""

    def __init__(self, cv2: Any) -> None:  # noqa: ANN401 - untyped
        self._cv2 = cv2
        self.imread = cache(cv2.imread)
        self._resized: dict[tuple[int, tuple[int, int], int], Any] = {}

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - untyped
        return getattr(self._cv2, name)

    def resize(self, image: Any, dsize: tuple[int, int], interpolation: int) -> Any:  # noqa: ANN401 - untyped
        """Enlarge an image of frost: the only one that the library resizes by OpenCV."""
        key = (id(image), dsize, interpolation)  # `imread` keeps the image, so that its id stays its own
        if key not in self._resized:
            self._resized[key] = self._cv2.resize(image, dsize=dsize, interpolation=interpolation)
        return self._resized[key]


def _by_library(name: str, x: Values, severity: int, streams: Streams, about: About) -> Values:
    pads = [_pad(side) for side in x.shape[1:3]]
    inside = tuple(slice(before, before + side) for (before, _), side in zip(pads, x.shape[1:3], strict=True))
    channels = slice(None) if x.shape[3] > 1 else slice(GREEN, GREEN + 1)
    for image, stream in zip(x, streams, strict=True):
        large = np.pad(image.astype(np.uint8), (*pads, (0, 0)), mode="reflect")
        seed = int(stream.integers(2**32))
        with _seeded(seed), redirect_stdout(StringIO()):  # it prints what it handles
            image[:] = _corrupt(name, large, severity, seed)[inside][..., channels]
    return x


def _corrupt(name: str, image: NDArray[np.uint8], severity: int, seed: int) -> NDArray[np.uint8]:
    # This family draws from a generator of numba's, which NumPy's state does not reach.
    more = {"seed": seed} if name == "glass_blur" else {}
    try:
        with np.errstate(invalid="raise" if name == "spatter" else "ignore"):
            made: NDArray[np.uint8] = _library().corrupt(
                image, severity=severity, corruption_name=name, **more
            )
    except FloatingPointError:  # no drop hit the image: the library divides by the largest one
        return np.repeat(image, 3 // image.shape[2], axis=2)
    return made


def _versions() -> str:
    return " ".join(f"{name}=={version(name)}" for name in DECIDING)


def _pad(side: int) -> tuple[int, int]:
    """How many pixels to add before and behind."""
    missing = max(0, SMALLEST_SIDE - side)
    return missing // 2, missing - missing // 2


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed NumPy's global state, and leave it as it was."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


def _channels(about: About) -> str:
    channels = about.shape[2] if len(about.shape) > 2 else 1
    return "" if channels in (1, 3) else f"it takes images of 1 or 3 channels, and these have {channels}"


def _colours(about: About) -> str:
    channels = about.shape[2] if len(about.shape) > 2 else 1
    return "" if channels == 3 else f"it changes colours, and these images have {channels} channels of 3"


def _family(name: str, stands_for: str, loss_means: str) -> Family:
    return Family(
        name, (Kind.IMAGE,), partial(_by_library, name), stands_for, HENDRYCKS, loss_means,
        applies=_colours if name == "saturate" else _channels, missing=library_missing, slow=True,
        version=_versions,
    )  # fmt: skip


#: In the order in which they run.
LIBRARY_FAMILIES: tuple[Family, ...] = (
    _family(
        "speckle_noise",
        "Noise that grows with brightness: radar, ultrasound, coherent light.",
        "As for gaussian_noise, in bright areas.",
    ),
    _family(
        "defocus_blur",
        "A lens out of focus: points become disks.",
        "As for gaussian_blur; edges stay sharper and are doubled.",
    ),
    _family(
        "glass_blur",
        "Frosted glass, or a wet or scratched window: pixels are shuffled nearby.",
        "The model relies on exact edges.",
    ),
    _family(
        "motion_blur",
        "A camera or an object that moves during the exposure.",
        "Shorten the exposure, or train with the directions of motion of the device.",
    ),
    _family(
        "zoom_blur",
        "A camera that approaches fast.",
        "The border of the image decides more than its centre.",
    ),
    _family(
        "snow",
        "Falling snow, with bright and blurred flakes.",
        "Bright spots are read as parts of the object.",
    ),
    _family(
        "frost",
        "Ice crystals on the window or on the lens.",
        "Texture over the whole image hides the object: heat the window, or train with it.",
    ),
    _family(
        "spatter",
        "Rain or mud on the lens.",
        "Parts of the object are hidden, or coloured; severities 1 to 3 are water, 4 and 5 mud.",
    ),
    _family(
        "saturate",
        "Another white balance or colour profile; severities 1 and 2 are pale, 3 to 5 gaudy.",
        "The model relies on colour: train with changed saturation.",
    ),
    _family(
        "elastic_transform",
        "Material that stretches, a lens that distorts, hot air.",
        "Classes are told apart by exact shape.",
    ),
    _family(
        "jpeg_compression",
        "A camera or a link that compresses the image strongly.",
        "Blocks of 8 by 8 pixels are read as structure: raise the quality, or train with the encoder.",
    ),
)
