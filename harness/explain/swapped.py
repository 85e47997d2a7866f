"""What is known to differ between two sides beside the file: the other side is run with the reference's."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.executors import wheels
from harness.explain.hypotheses.options import first_layer
from harness.explain.scene import INPUT, Finding, Remedy, Scene, State
from harness.explain.sides import Side


@dataclass(slots=True)
class Swapped:
    """Confirmed where the other side with one thing of the reference loses the difference.

    Parameters
    ----------
    name, before, after : str
        What differs, with its value on the reference and on the other side.
    changed : Side
        The other side with the reference's.
    remedy : str
        Line of the target or of ``validation.toml``.
    """

    name: str
    before: str
    after: str
    changed: Side
    remedy: str

    def test(self, scene: Scene) -> Finding:
        """Run the other side with it."""
        trace = scene.runner.samples(self.changed, scene.rows)
        is_exact = scene.distance(scene.first, trace) == 0
        share = scene.share(scene.first, trace)
        state = scene.judged(share, is_exact=is_exact)
        left = "no difference is left" if is_exact else f"{max(0.0, 1 - share):.1%} of the difference is left"
        text = f"{self.before} instead of {self.after}"
        if state not in (State.CONFIRMED, State.PARTLY):
            return Finding(self.name, state, f"{text}: {left}", max(0.0, share))
        one, two = self.changed, scene.other
        is_of_input = one.raw is not two.raw or one.preprocess != two.preprocess
        return Finding(
            self.name, state, f"{text}: {left}", share, self._cause(scene),
            INPUT if is_of_input else first_layer(scene),
            Remedy(f"{self.name} as before", self.remedy, scene.other.label),
            scene.replaced(scene.other, self.changed),
        )  # fmt: skip

    def _cause(self, scene: Scene) -> str:
        """What changed, and what of it the sessions report."""
        before, after = scene.first.effective, scene.second.effective
        reported = [
            f"the session reports {key} {after[key]} instead of {before[key]}"
            for key in before.keys() & after.keys()
            if before[key] != after[key]
        ]
        return "; ".join([f"{self.name}: {self.before} became {self.after}", *sorted(reported)])


def of_version(reference: Side, other: Side, before: str, after: str) -> Swapped:
    """Another version of the runtime, in an environment of its own on the same device."""
    runtime = wheels.RUNTIMES.get(other.backend, other.backend)
    return Swapped(
        f"version of {runtime}", before, after,
        replace(other, executor=reference.executor, target=reference.target),
        f'[executor] requirements = ["{runtime}=={before}"]',
    )  # fmt: skip
