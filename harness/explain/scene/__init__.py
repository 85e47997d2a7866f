"""The case that is explained, and what a test of it comes to: all that a hypothesis has to import."""

from harness.explain.scene.findings import INPUT, OUTPUT, Finding, Remedy, State
from harness.explain.scene.hypothesis import Hypothesis, SupportsLikelihood
from harness.explain.scene.scene import Scene

__all__ = ["INPUT", "OUTPUT", "Finding", "Hypothesis", "Remedy", "Scene", "State", "SupportsLikelihood"]
