"""A difference as a file of a few operators, its tensors, and a script that needs the runtime alone."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import HarnessError, ModelError
from harness.explain.files.edits import FED
from harness.explain.files.model_file import ModelFile
from harness.explain.layers.fed import Fed, tapped_inputs
from harness.explain.layers.table import Layer
from harness.explain.layers.tapped import Tapped
from harness.explain.reproducers import scripts
from harness.explain.scene import INPUT, OUTPUT, Finding, Scene
from harness.explain.search.explanation import Explanation
from harness.explain.sides.side import Side, are_one_model
from harness.store.cache import write_atomically, writing

FOLDER, TENSORS = "reproducer", "tensors.npz"
#: A layer that shows less than this part of its difference alone is taken with those before it.
SHOWN = 0.5
#: So many layers before it are tried.
MOST_LAYERS = 4


README = """\
# {cause}

`{name}` is a part of the model with {layers} layer(s). `{tensors}` has its inputs (`input:NAME`), `expected`
and `seen`, which {package} {made_with} gave on {target}. They differ by {largest:.6g} at most.

    python -m venv venv && venv/bin/pip install numpy {package} && venv/bin/python reproduce.py

The script exits with 1 where the difference is there, and with 0 where it is not.
"""


@dataclass(frozen=True, slots=True)
class Reproducer:
    """A part of a file that shows a difference by itself.

    Parameters
    ----------
    side : Side
        That computes it otherwise.
    content : bytes
        The part, in the side's format.
    feeds : mapping of name to ndarray
        What the part is fed.
    expected, seen : ndarray
        The reference's values, and those of the side, for one sample.
    layers : int
        Of the part.
    version : str
        Of the runtime; empty where the target does not tell.
    """

    side: Side
    content: bytes
    feeds: Mapping[str, NDArray[Any]]
    expected: NDArray[Any]
    seen: NDArray[Any]
    layers: int
    version: str

    @property
    def largest(self) -> float:
        """Largest absolute difference."""
        return _largest(self.expected, self.seen)


def attempt(explanation: Explanation, folder: Path, end_s: float) -> None:
    """Write a reproducer of the first confirmed cause that names a layer; note why where there is none.

    Parameters
    ----------
    end_s : float
        On the monotonic clock: no run is begun after it.
    """
    finding = next((one for one in explanation.confirmed if one.layer not in ("", INPUT, OUTPUT)), None)
    if finding is None:
        return
    try:
        made = of_finding(explanation.scene, finding, end_s)
        explanation.reproducer = write(folder, made, finding.cause)
    except HarnessError as error:
        explanation.scene.refused["reproducer"] = error.what


def of_finding(scene: Scene, finding: Finding, end_s: float = math.inf) -> Reproducer:
    """Cut out the layer that a finding names, with as many before it as it takes to show the difference.

    Raises
    ------
    HarnessError
        The two sides run different variants, no layer is named, or no part shows the difference.
    """
    if finding.side == scene.reference.label:  # it is the one that is wrong: the other's values are expected
        scene = replace(scene, reference=scene.other, other=scene.reference, refused={})
    if not are_one_model(scene.reference, scene.other):
        raise ModelError("the two variants are meant to differ")
    if time.monotonic() > end_s:
        raise ModelError("the time is used up")
    tapped, both = scene.tapped, scene.files
    row = next((row for row in scene.table if row.point.layer == finding.layer), None)
    if row is None or tapped is None or both is None:
        raise ModelError("the cause names no layer that could be cut out")
    return _shrunk(scene, tapped, row, end_s)


def _shrunk(scene: Scene, tapped: Tapped, row: Layer, end_s: float) -> Reproducer:
    assert scene.files is not None
    file = scene.files[1]
    pair = next(pair for pair in tapped.pairs if pair.other is row.point)
    at = tapped.pairs.index(pair)
    expected = Fed(tapped, [pair.other.name])[pair.other.name][0]
    seen_in_run = _largest(expected, tapped.other.tensors[pair.other.name][0])
    for count in range(1, MOST_LAYERS + 1):
        if time.monotonic() > end_s:
            raise ModelError("the time is used up")
        # The last layers before it are computed, too: a runtime may fuse them.
        inside = {one.other.name for one in tapped.pairs[max(0, at - count + 1) : at + 1]}
        outside = {one.other.name for one in tapped.pairs} - inside
        made = _part(tapped, file, pair.other.name, outside & file.read)
        if made is None:
            continue
        content, feeds = made
        side = scene.runner.with_file(scene.other, content, f"part.{scene.other.artifact.format}")
        trace = scene.runner.tensors(side, {name: x[np.newaxis] for name, x in feeds.items()})
        seen = trace.tensors[trace.outputs[0]][0]
        if seen.shape == expected.shape and _largest(expected, seen) > SHOWN * seen_in_run > 0:
            version = str(scene.runner.machine(scene.other).get("backend_version", ""))
            return Reproducer(scene.other, content, feeds, expected, seen, count, version)
    raise ModelError(
        f"{row.point.layer} with {MOST_LAYERS - 1} layers before it does not show the difference"
    )


def _part(
    tapped: Tapped, file: ModelFile, name: str, outside: Collection[str]
) -> tuple[bytes, dict[str, NDArray[Any]]] | None:
    """The part that computes a value from what is fed; None where nothing of it is left to feed."""
    tensors, fed = tapped.other.tensors, Fed(tapped, outside)
    content, names = file.alone({key: tensors[key][0] for key in fed}, [name])
    inputs = tapped_inputs(tapped)
    sources = {key + FED: key for key in fed} | {key: key for key in inputs}
    if not names or any(key not in sources for key in names):
        return None
    return content, {key: (tensors[key] if key in inputs else fed[sources[key]])[0] for key in names}


def write(folder: Path, made: Reproducer, cause: str) -> Path:
    """Write the file, its tensors and the script.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    HarnessError
        There is no script for the runtime, or the folder cannot be written.
    """
    name = f"part.{made.side.artifact.format}"
    made_with = made.version or "of an unknown version"
    script = scripts.script(made.side, name, TENSORS, cause, made.largest, made_with)
    tensors: dict[str, Any] = {f"input:{key}": x for key, x in made.feeds.items()}
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(made.content)
        np.savez(folder / TENSORS, expected=made.expected, seen=made.seen, **tensors)
        write_atomically(folder / "reproduce.py", script.encode())
        write_atomically(folder / "README.md", _readme(made, name, cause, made_with).encode())
    return folder


def _readme(made: Reproducer, name: str, cause: str, made_with: str) -> str:
    return README.format(
        cause=cause, name=name, layers=made.layers, tensors=TENSORS, made_with=made_with,
        package=scripts.runtime_of(made.side).package, target=made.side.target, largest=made.largest,
    )  # fmt: skip


def _largest(one: NDArray[Any], two: NDArray[Any]) -> float:
    if one.shape != two.shape:
        return 0.0
    return float(np.abs(one.astype(np.float64) - two.astype(np.float64)).max(initial=0.0))
