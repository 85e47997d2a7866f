"""Nothing stands out: what 8 bits make of all layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.explain.hypotheses.quantization.quantized import STEPS, with_recipe
from harness.explain.scene import Finding, Scene, State
from harness.explain.scene.scene import SMALL


class Spread:
    """Nothing stands out: what 8 bits make, in which layers most."""

    name = "8 bits"

    def test(self, scene: Scene) -> Finding:
        """Rank the layers by what each adds by itself."""
        if scene.reference.artifact.precision or not scene.other.artifact.precision:
            return Finding(self.name, State.UNTESTED, "not a float file against an integer one")
        rows = [row for row in scene.table if row.isolated is not None]
        if not rows:
            return Finding(self.name, State.UNTESTED, scene.why_no_layers())
        rows.sort(key=lambda row: -row.isolated.relative if row.isolated else 0.0)
        worst = ", ".join(
            f"{row.point.layer} {row.isolated.sqnr_db:.0f} dB" for row in rows[:3] if row.isolated
        )
        evidence = f"the layers that lose most: {worst}"
        if scene.gap <= SMALL:
            return Finding(self.name, State.EXPECTED, evidence)
        if any(row.isolated and (row.isolated.steps or 0.0) > STEPS for row in rows):
            return Finding(
                self.name, State.REFUTED, f"some layers lose more than {STEPS:g} steps; {evidence}"
            )
        finding = Finding(
            self.name, State.CONFIRMED, evidence, 1.0,
            f"8 bits are too few: no layer stands out, and all together lose {scene.gap:.0%}",
            rows[0].point.layer,
        )  # fmt: skip
        worst_layers = [list(dict.fromkeys(row.point.layer for row in rows[:count])) for count in (1, 2, 4)]
        changes: list[Mapping[str, Any]] = [
            {"calibration": "mse"},
            *({"float_layers": names} for names in worst_layers),
        ]
        return with_recipe(scene, finding, changes)
