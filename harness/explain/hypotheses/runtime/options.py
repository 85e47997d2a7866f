"""Causes that an option of the runtime takes away: the other side is run again with that option."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.core.contracts import Variation
from harness.core.errors import HarnessError
from harness.explain.scene import Finding, Remedy, Scene, State
from harness.explain.sides.side import Side


@dataclass(frozen=True, slots=True)
class _Tried:
    """A side that was run with other options."""

    side: Side
    variation: Variation
    share: float
    is_exact: bool


def _try(scene: Scene, side: Side, variations: Sequence[Variation]) -> tuple[list[_Tried], list[str]]:
    """Run a side with each variation; what was refused, with the reason."""
    tried, refused = [], []
    traces = scene.runner.options(side, scene.rows, [variation.options for variation in variations])
    for variation, trace in zip(variations, traces, strict=True):
        if isinstance(trace, HarnessError):
            refused.append(f"{side.label} with {variation.text}: {trace.what}")
            continue
        first, second = scene.in_place_of(side, trace)
        is_exact = scene.distance(first, second) == 0
        tried.append(_Tried(side, variation, scene.share(first, second), is_exact))
    return tried, refused


class ByOption(ABC):
    """Confirmed where a variation of the kind `name` takes the difference away."""

    name = ""

    def test(self, scene: Scene) -> Finding:
        """Run the other side, then the reference, with each variation; once for all that ask."""
        if self.name not in scene.by_option:
            scene.by_option[self.name] = self._tested(scene)
        return scene.by_option[self.name]

    def _tested(self, scene: Scene) -> Finding:
        tried: list[_Tried] = []
        refused: list[str] = []
        for side in (scene.other, scene.reference):
            if variations := scene.variations(side, self.name):
                some, reasons = _try(scene, side, variations)
                tried, refused = tried + some, refused + reasons
            if any(scene.judged(one.share, is_exact=one.is_exact) is State.CONFIRMED for one in tried):
                break
        if not tried:
            why = (
                "; ".join(refused)
                or f"no option of {scene.other.backend} or {scene.reference.backend} changes it"
            )
            return Finding(self.name, State.UNTESTED, why)
        best = max(tried, key=lambda one: one.share)
        state = scene.judged(best.share, is_exact=best.is_exact)
        evidence = f"{best.side.label} with {best.variation.text}: {_left(best.share, best.is_exact)}"
        if state not in (State.CONFIRMED, State.PARTLY):
            return Finding(self.name, state, evidence, max(0.0, best.share))
        best, narrower = self._narrowed(scene, best)
        remedy = Remedy(
            f"{best.variation.text} on {best.side.label}",
            f"[deploy] {best.variation.remedy}",
            best.side.label,
        )
        return Finding(
            self.name, state, evidence + narrower, best.share, self.cause(scene, best.side, best.variation),
            scene.first_layer, remedy,
            scene.replaced(best.side, replace(best.side, options=best.variation.options)),
        )  # fmt: skip

    def _narrowed(self, scene: Scene, best: _Tried) -> tuple[_Tried, str]:
        """Keep the one part of a variation that does as much."""
        if not best.variation.parts:
            return best, ""
        tried, _ = _try(scene, best.side, best.variation.parts)
        for one in tried:
            if one.share >= best.share - 0.05:
                return one, f"; {one.variation.text} alone: {_left(one.share, one.is_exact)}"
        return best, ""

    @abstractmethod
    def cause(self, scene: Scene, side: Side, variation: Variation) -> str:
        """One line."""


def _left(share: float, is_exact: bool) -> str:
    if is_exact:
        return "no difference is left"
    return f"{1 - share:.1%} of the difference is left" if share < 1 else "the difference is gone"


class Precision(ByOption):
    """One side computes in fewer bits."""

    name = "precision"

    def cause(self, scene: Scene, side: Side, variation: Variation) -> str:
        """Name the precision that the session reports."""
        trace = scene.second if side is scene.other else scene.first
        says = trace.effective.get("precision", "")
        names = f" in {says}" if says and says != "f32" else " in less than float32"
        return f"{side.label} computes{names}"


class Kernels(ByOption):
    """One side's kernels round otherwise."""

    name = "kernels"

    def cause(self, scene: Scene, side: Side, variation: Variation) -> str:
        """Name what it ran on."""
        trace = scene.second if side is scene.other else scene.first
        ran = trace.effective.get("provider", "its kernels")
        return f"{side.label} runs on {ran}, whose kernels round otherwise than {variation.text}"


class Optimization(ByOption):
    """An optimization of the graph changes the numbers."""

    name = "graph optimization"

    def cause(self, scene: Scene, side: Side, variation: Variation) -> str:
        """Name the narrowest variation."""
        return f"an optimization of the graph on {side.label}; it is gone with {variation.text}"
