"""What a hypothesis is."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from harness.explain.scene.findings import Finding
from harness.explain.scene.scene import Scene


class Hypothesis(Protocol):
    """One possible cause. Plug-ins of the group ``harness.hypotheses`` are tuples of them."""

    name: str

    def test(self, scene: Scene) -> Finding:
        """Look for evidence for and against it."""
        ...


@runtime_checkable
class SupportsLikelihood(Protocol):
    """A hypothesis that can tell from what is stored of a case whether it is likely."""

    def is_likely(self, scene: Scene) -> bool:
        """Whether facts speak for it, so that it is tested before the others; nothing is run."""
        ...
