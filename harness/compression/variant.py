"""One variant of the model: its files by format, and why some are missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.core.artifact import Artifact


@dataclass(frozen=True, slots=True)
class Variant:
    """One variant of the model.

    Parameters
    ----------
    name : str
    artifacts : mapping of format to Artifact
    refused : mapping of format to str
        Reason why there is no artifact of that format.
    faults : mapping of format to Exception
        Formats that are missing because the harness has a fault, not because the model cannot be written.
    quantized : bool
        Its files compute in integers.
    card : mapping
        Description of the variant as JSON, see ``harness.compression.card``.
    unusable : mapping of backend to str
        Why the backend cannot run it on this machine, see ``harness.run.proofs``.
    """

    name: str
    artifacts: Mapping[str, Artifact]
    refused: Mapping[str, str] = field(default_factory=dict)
    quantized: bool = False
    card: Mapping[str, Any] = field(default_factory=dict)
    faults: Mapping[str, Exception] = field(default_factory=dict)
    unusable: Mapping[str, str] = field(default_factory=dict)

    def artifact_for(self, formats: Sequence[str]) -> tuple[Artifact | None, str]:
        """Return the first of the formats that exists; else None and why there is none."""
        for fmt in formats:
            if fmt in self.artifacts:
                return self.artifacts[fmt], ""
        why = [self.refused[fmt] for fmt in formats if fmt in self.refused]
        return None, why[0] if why else f"{self.name} exists only as {', '.join(self.artifacts)}"
