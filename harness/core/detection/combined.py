"""Keys of ``[task]`` that do not fit together, though each alone is right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.core.detection import anchors, grids
from harness.core.detection.decode import Decode
from harness.core.settings import Problems


def together(table: Mapping[str, Any]) -> Problems:
    """List what is wrong with several keys of ``[task]`` together; each alone is right."""
    given: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in table.items()}
    decode, wrong = Decode(**given), []
    if decode.threshold < decode.least_score:
        wrong.append(("threshold", f"is below least_score, which is {decode.least_score}"))
    if decode.anchors != "none" and decode.box not in ("cxcywh", "cycxhw"):
        wrong.append(("box", f"is {decode.box}; differences from anchors are cxcywh or cycxhw"))
    if (decode.anchors != "none" or decode.units == "normalized") and not decode.size:
        text = "missing; height and width of the model's input: boxes are normalized, or relative to anchors"
        wrong.append(("size", text))
    if decode.classes and not decode.scores:
        wrong.append(("scores", "missing; an output with the classes has one with the scores beside it"))
    return wrong + _heads(decode)


def _heads(decode: Decode) -> Problems:
    """List what is wrong with the keys of heads that are not decoded."""
    wrong = []
    if decode.heads:
        if decode.anchors not in grids.FAMILIES:
            wrong.append(("anchors", f"is {decode.anchors}; heads are of {', '.join(grids.FAMILIES)}"))
        if not decode.size:
            wrong.append(("size", "missing; height and width of the model's input: heads are grids over it"))
        if decode.scores:
            wrong.append(("scores", "is not for heads, which hold boxes and scores"))
    elif decode.anchors in grids.FAMILIES and decode.anchors not in anchors.FAMILIES:
        wrong.append(("heads", f"missing; {decode.anchors} has one output, or several, a stride"))
    if decode.anchor_sizes:
        levels = len(grids.FAMILIES[decode.anchors].sizes) if decode.anchors in grids.FAMILIES else 1
        if not decode.heads or len(decode.anchor_sizes) % (2 * levels):
            text = f"has {len(decode.anchor_sizes)} numbers; give width and height of the anchors of each "
            wrong.append(("anchor_sizes", f"{text}of {levels} heads, the smallest stride first"))
    return wrong
