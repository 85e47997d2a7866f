"""A difference as a file of a few operators, its tensors, and a script that needs the runtime alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import HarnessError, ModelError
from harness.explain import layers, scripts, tflite_points
from harness.explain.files import OnnxFile
from harness.explain.layers import Layer, Pair, Tapped
from harness.explain.points import FED
from harness.explain.procedure import Explanation
from harness.explain.scene import INPUT, Finding, Scene
from harness.explain.sides import Side
from harness.store.cache import write_atomically, writing

FOLDER, TENSORS = "reproducer", "tensors.npz"
#: A layer that shows less than this part of its difference alone is taken with those before it.
SHOWN = 0.5
#: So many layers before it are tried.
MOST_LAYERS = 4


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
    """

    side: Side
    content: bytes
    feeds: Mapping[str, NDArray[Any]]
    expected: NDArray[Any]
    seen: NDArray[Any]
    layers: int

    @property
    def largest(self) -> float:
        """Largest absolute difference."""
        return _largest(self.expected, self.seen)


def attempt(explanation: Explanation, folder: Path) -> None:
    """Write a reproducer of the first confirmed cause that names a layer; note why where there is none."""
    finding = next((one for one in explanation.confirmed if one.layer not in ("", INPUT)), None)
    if finding is None:
        return
    try:
        made = of_finding(explanation.scene, finding)
        explanation.reproducer = write(folder, made, finding.cause)
    except HarnessError as error:
        explanation.scene.refused["reproducer"] = error.what


def of_finding(scene: Scene, finding: Finding) -> Reproducer:
    """Cut out the layer that a finding names, with as many before it as it takes to show the difference.

    Raises
    ------
    HarnessError
        The two sides run different variants, no layer is named, or no part shows the difference.
    """
    if finding.side == scene.reference.label:  # it is the one that is wrong: the other's values are expected
        scene = replace(scene, reference=scene.other, other=scene.reference, refused={})
    tapped, both = scene.tapped, scene.files
    row = next((row for row in scene.table if row.point.layer == finding.layer), None)
    if row is None or tapped is None or both is None:
        raise ModelError("the cause names no layer that could be cut out")
    if scene.reference.variant != scene.other.variant:
        raise ModelError("the two variants are meant to differ")
    return _shrunk(scene, tapped, row)


def _shrunk(scene: Scene, tapped: Tapped, row: Layer) -> Reproducer:
    pair = next(pair for pair in tapped.pairs if pair.other is row.point)
    fed = layers.fed(tapped)
    inputs = {name: tapped.other.tensors[name] for name in layers.tapped_inputs(tapped)}
    at = tapped.pairs.index(pair)
    expected = fed[pair.other.name][0]
    seen_in_run = _largest(expected, tapped.other.tensors[pair.other.name][0])
    for count in range(1, MOST_LAYERS + 1):
        # The last layers before it are computed, too: a runtime may fuse them.
        inside = {one.other.name for one in tapped.pairs[max(0, at - count + 1) : at + 1]}
        made = _part(scene, pair, {name: x for name, x in fed.items() if name not in inside}, inputs)
        if made is None:
            continue
        content, feeds = made
        side = scene.runner.with_file(scene.other, content, f"part.{scene.other.artifact.format}")
        trace = scene.runner.tensors(side, {name: x[np.newaxis] for name, x in feeds.items()})
        seen = trace.tensors[trace.outputs[0]][0]
        if seen.shape == expected.shape and _largest(expected, seen) > SHOWN * seen_in_run > 0:
            return Reproducer(scene.other, content, feeds, expected, seen, count)
    raise ModelError(
        f"{row.point.layer} with {MOST_LAYERS - 1} layers before it does not show the difference"
    )


def _part(
    scene: Scene, pair: Pair, fed: Mapping[str, NDArray[Any]], inputs: Mapping[str, NDArray[Any]]
) -> tuple[bytes, dict[str, NDArray[Any]]] | None:
    """The part that computes a value from what is fed; None where nothing of it is left to feed."""
    assert scene.files is not None
    file, name = scene.files[1], pair.other.name
    given = {key: x[0] for key, x in fed.items() if key in file.read}
    if isinstance(file, OnnxFile):
        part = file.part(given, [name])
        names = [value.name for value in part.graph.input]
        content = part.SerializeToString()
    else:
        content, names = tflite_points.part(file.exploded(given, [name]), name)
    values = {key: x[0] for key, x in inputs.items()} | {key + FED: x for key, x in given.items()}
    if not names or any(key not in values for key in names):
        return None
    return content, {key: values[key] for key in names}


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
    script = scripts.script(made.side, name, TENSORS, cause, made.largest)
    tensors: dict[str, Any] = {f"input:{key}": x for key, x in made.feeds.items()}
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(made.content)
        np.savez(folder / TENSORS, expected=made.expected, seen=made.seen, **tensors)
        write_atomically(folder / "reproduce.py", script.encode())
    return folder


def _largest(one: NDArray[Any], two: NDArray[Any]) -> float:
    if one.shape != two.shape:
        return 0.0
    return float(np.abs(one.astype(np.float64) - two.astype(np.float64)).max(initial=0.0))
