"""A GPU that gets hot while it computes; copied to where child processes import it."""

from __future__ import annotations

import os
from pathlib import Path

from harness.core.artifact import Artifact
from harness.core.contracts import Session
from harness.core.job import Options
from harness.core.preprocess import Feeds, Outputs
from harness.testing.fakes import GpuBackend, GpuSession

HOTTER = ("policy1 0\n", "policy1 250000000\n")  # the thermal policy's counter, in ns


class _HotSession(GpuSession):
    def run(self, feeds: Feeds) -> Outputs:
        planted = Path(os.environ["FAKE_GPU"])
        planted.write_text(planted.read_text().replace(*HOTTER))
        return super().run(feeds)


class HotBackend(GpuBackend):
    """Shows it in the driver's counter only, not in the bits of the present state."""

    name = "hot"

    def open(self, artifact: Artifact, options: Options) -> Session:
        session = super().open(artifact, options)
        session.__class__ = _HotSession
        return session
