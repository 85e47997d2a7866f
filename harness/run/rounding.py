"""How far the outputs of each variant may differ from the host's by rounding alone, derived from its file."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.compression.model_file import load_onnx
from harness.compression.rounding import AMPLITUDE, SUMS, RandomRounding, Unexplained, with_random_rounding
from harness.compression.variant import Variant
from harness.core.artifact import Artifact, describe_file
from harness.core.errors import HarnessError
from harness.core.preprocess import Feeds
from harness.data.sets import PreparedData
from harness.device.probe import run_file
from harness.store.cache import Cache, key_of

#: Key of the card.
KEY = "rounding"
SAMPLES, REPEATS = 16, 4
#: Larger models are left out: each is run `SAMPLES` x `REPEATS` times, and held in memory twice.
MOST_BYTE = 500_000_000
#: Errors are measured at so many times the unit roundoff: small enough to grow in proportion, and large
#: against the rounding of the run itself.
AMPLIFIED = {2.0**-24: 2.0**10, 2.0**-11: 8.0, 2.0**-53: 2.0**39}
#: From the largest error that was seen in a few samples to the bound for all: two kernels err, the largest
#: normal error of 10,000 samples is 1.5 times that of 64, and Winograd's and other fast convolutions err up
#: to ten times as much as the plain sum (A. Lavin and S. Gray, 2016, arXiv:1509.09308, section 5.2).
FACTOR = 16.0
#: Integer results of all layers are moved by up to a step at once; two kernels differ, and in more samples.
INTEGER_FACTOR = 2.0
#: Unit roundoff of bfloat16. Arithmetic in a shorter format adds in float32 and rounds each result once. Both
#: runs err, and there are more samples than were run: healthy runs (OpenVINO, batch 1 to 64, 1 to 4 threads)
#: reached a quarter of 8 units of the largest answer.
SHORT_UNIT, SHORT_FACTOR = 2.0**-8, 8.0
_PARALLEL = 2
_SCHEME = 3


def with_bounds(
    variants: Sequence[Variant],
    data: PreparedData,
    cache: Cache,
    progress: Callable[[str], None] = lambda text: None,
) -> tuple[Variant, ...]:
    """Add to each card what rounding explains.

    The card gets ``rounding``: ``bounds``, mapping of output name to the largest absolute difference,
    ``short``, what is added to it where results are rounded to bfloat16, and what they were derived from; or
    ``na``, why nothing can be derived.

    Parameters
    ----------
    variants : sequence of Variant
    data : PreparedData
    cache : Cache
        Remembers the results by file and data.
    progress : callable
        Called with a line of text before something is run.
    """
    announced = False

    def derived(variant: Variant) -> dict[str, Any]:
        nonlocal announced
        artifact = variant.artifacts.get("onnx")
        if artifact is None:
            return {"na": "there is no ONNX file to derive it from"}
        if artifact.size_byte > MOST_BYTE:
            return {"na": f"the file has more than {MOST_BYTE / 1e6:.0f} MB"}
        key = key_of({
            "what": KEY, "scheme": _SCHEME, "of": artifact.sha256, "data": data.sets[0].ref.to_json(),
            "steps": {name: step.to_json() for name, step in data.preprocess.items()},
            "by": version("onnxruntime"),
        })  # fmt: skip
        answer = cache.recall(key)
        if answer is None:
            if not announced:
                announced = True
                progress("deriving what rounding explains")
            answer = _derive(artifact, data, cache)
            cache.note(key, answer)
        return answer

    with ThreadPoolExecutor(_PARALLEL) as pool:
        answers = list(pool.map(derived, variants))
    return tuple(
        replace(variant, card={**variant.card, KEY: answer})
        for variant, answer in zip(variants, answers, strict=True)
    )


def _derive(artifact: Artifact, data: PreparedData, cache: Cache) -> dict[str, Any]:
    try:
        rounded = with_random_rounding(load_onnx(artifact.path))
        amplitude = 1.0 if rounded.integers else AMPLIFIED[rounded.unit] * rounded.unit
        samples = _samples(data, cache)
        with tempfile.TemporaryDirectory(prefix="harness-rounding-") as folder:
            plain, *errors = _largest(_runs(rounded, artifact, samples, amplitude, Path(folder)))
    except Unexplained as why:
        return {"na": str(why)}
    except HarnessError as refusal:  # the changed model may be more than the runtime takes
        return {"na": refusal.what.partition("\n")[0]}
    except (OSError, ValueError) as damaged:  # a runtime that died while it wrote
        return {"na": f"the outputs cannot be read: {damaged}"}
    scale = INTEGER_FACTOR if rounded.integers else FACTOR * rounded.unit / amplitude
    unit = rounded.unit if not rounded.integers else 2.0**-24
    bounds = {}
    for name, error in errors[0].items():
        step = artifact.output_quantization.get(name)
        least = step.scale if step is not None and rounded.integers else 4 * unit * plain[name]
        bounds[name] = max(scale * error, least)
    if not bounds:
        return {"na": "its outputs are no real numbers"}
    if not all(math.isfinite(bound) for bound in bounds.values()):
        return {"na": "rounding decides whether its outputs are finite"}
    return {
        "bounds": bounds, "by": "steps" if rounded.integers else "unit roundoff", "unit": rounded.unit,
        "short": {name: max(SHORT_FACTOR * error, SHORT_FACTOR * SHORT_UNIT * plain[name])
                  for name, error in (errors[1] if len(errors) > 1 else {}).items()},
        "samples": len(samples), "repeats": REPEATS,
    }  # fmt: skip


def _samples(data: PreparedData, cache: Cache) -> list[Feeds]:
    """Return the first calls of the calibration; without any, those of the clean set."""
    feeds = list(islice(data.calibration_feeds(), SAMPLES)) if len(data.calibration) else []
    if feeds:
        return feeds
    rows = {
        name: np.load(cache.array_path(sha256), mmap_mode="r", allow_pickle=False)[:SAMPLES]
        for name, sha256 in data.sets[0].ref.inputs.items()
    }
    return list(islice(data.feeds_of(rows), SAMPLES))


def _runs(
    rounded: RandomRounding, artifact: Artifact, samples: Sequence[Feeds], amplitude: float, folder: Path
) -> Iterator[list[list[dict[str, NDArray[Any]]]]]:
    """Yield for each sample the outputs as they are, with random rounding, and with that of results alone."""
    path = folder / "model.onnx"
    path.write_bytes(rounded.model.SerializeToString())
    changed = Artifact(artifact.variant, "onnx", (describe_file(path),), folder)
    # Amplitude, whether sums are rounded inside, and runs.
    kinds = [(0.0, 0.0, 1), (amplitude, 1.0, REPEATS)] + [(SHORT_UNIT, 0.0, REPEATS)] * (not rounded.integers)
    files = []
    for place, feeds in enumerate(samples):
        for kind, (size, sums, repeats) in enumerate(kinds):
            file = folder / f"feeds-{place}-{kind}.npz"
            both = {**feeds, AMPLITUDE: np.array(size, np.float32)}
            if not rounded.integers:
                both[SUMS] = np.array(sums, np.float32)
            np.savez(file, np.array(list(both)), *both.values())
            files += [file] * repeats
    outputs = iter(run_file("onnxruntime", changed, files, folder))
    names = [value.name for value in rounded.model.graph.output]
    for _ in samples:
        yield [[_read(next(outputs), names) for _ in range(repeats)] for *_, repeats in kinds]


def _read(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[file] for name, file in zip(names, stored.files, strict=True)}


def _largest(runs: Iterable[list[list[dict[str, NDArray[Any]]]]]) -> list[dict[str, float]]:
    """Return by output the largest absolute value, and the largest error of each kind; of real ones only."""
    largest: list[dict[str, float]] = []
    for (plain,), *kinds in runs:
        largest = largest or [{} for _ in range(1 + len(kinds))]
        for name, y in plain.items():
            if y.dtype.kind != "f":
                continue
            exact = y.astype(np.float64)
            size = np.abs(exact[np.isfinite(exact)]).max(initial=0.0)
            largest[0][name] = max(largest[0].get(name, 0.0), float(size))
            for errors, others in zip(largest[1:], kinds, strict=True):
                for other in others:
                    changed = other[name].astype(np.float64)
                    same = (changed == exact) | (np.isnan(changed) & np.isnan(exact))
                    with np.errstate(invalid="ignore"):  # infinity minus infinity, where they are the same
                        gaps = np.where(same, 0.0, np.nan_to_num(np.abs(changed - exact), nan=np.inf))
                    errors[name] = max(errors.get(name, 0.0), float(gaps.max(initial=0.0)))
    return largest or [{}, {}]
