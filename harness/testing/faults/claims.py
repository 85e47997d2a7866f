"""Faults of what a session or a backend reports about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from harness.core.artifact import Artifact
from harness.core.contracts import Availability, Backend, Session
from harness.core.job import Options
from harness.core.preprocess import Feeds, Outputs
from harness.core.target import CUDA
from harness.testing.faults.arrays import changed
from harness.testing.faults.fault import Call, Compute, Fault, Kind, Plant
from harness.testing.faults.numeric import to_bfloat16

UNCONFIRMED = ("confirm", "claim", "nothing shows", "not proved")


class ClaimsProvider(Plant):
    """Reports a provider that is not in use."""

    def __init__(self, provider: str) -> None:
        super().__init__()
        self._provider = provider

    def probe(self, availability: Availability) -> Availability:
        """Report it as a device of the runtime, too."""
        return replace(availability, devices=(self._provider, *availability.devices))

    def effective(self, effective: Mapping[str, str], options: Options) -> Mapping[str, str]:
        """Report it."""
        return {**effective, "provider": self._provider}


class ClaimsThreads(Plant):
    """Opens sessions with another number of threads than requested, and reports the requested one."""

    def open(self, backend: Backend, artifact: Artifact, options: Options) -> Session:
        """Open with two threads where one was asked for, else with one."""
        return backend.open(artifact, replace(options, threads=2 if options.threads == 1 else 1))

    def effective(self, effective: Mapping[str, str], options: Options) -> Mapping[str, str]:
        """Report the requested number."""
        return {**effective, "threads": str(options.threads or "default")}


class ClaimsPrecision(Plant):
    """Computes with bfloat16 at the edges, and reports float32."""

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run with rounded inputs, and round the outputs."""
        rounded = {
            name: to_bfloat16(x) if getattr(x, "dtype", None) == "float32" else x for name, x in feeds.items()
        }
        return changed(call, compute(rounded), to_bfloat16)

    def effective(self, effective: Mapping[str, str], options: Options) -> Mapping[str, str]:
        """Report float32."""
        return {**effective, "precision": "f32"}


class ReportsNoPrecision(Plant):
    """Reports no precision."""

    def effective(self, effective: Mapping[str, str], options: Options) -> Mapping[str, str]:
        """Leave it out."""
        return {name: value for name, value in effective.items() if name != "precision"}


class ClaimsVersion(Plant):
    """Reports another version of the runtime."""

    def probe(self, availability: Availability) -> Availability:
        """Report it."""
        return replace(availability, version="99.0.0")


FAULTS = (
    Fault(
        "claims-cuda", Kind.CLAIM, "the session reports CUDA, and computes on the CPU",
        lambda _: ClaimsProvider(CUDA), (*UNCONFIRMED, "cuda", "gpu", "provider"),
        "a check of the provider by the driver of the device", quick=True,
    ),
    Fault(
        "claims-other-provider", Kind.CLAIM, "the session reports a provider that is not in use",
        lambda _: ClaimsProvider("DnnlExecutionProvider"), (*UNCONFIRMED, "provider"),
        "a check of the provider by the profile or by the libraries in memory",
    ),
    Fault(
        "claims-threads", Kind.CLAIM, "the session runs with another number of threads than it reports",
        ClaimsThreads, ("thread",), "a check that counts the threads", quick=True,
    ),
    Fault(
        "claims-precision", Kind.CLAIM, "the session reports float32, and rounds to bfloat16",
        ClaimsPrecision,
        (*UNCONFIRMED, "precision", "bf16", "bfloat16", "float32", "differ", "same numbers"),
        "a check of the precision by the numbers", quick=True,
    ),
    Fault(
        "reports-no-precision", Kind.CLAIM, "the session reports no precision", ReportsNoPrecision,
        ("not report", "precision"), "a check of what a session reports",
    ),
    Fault(
        "claims-version", Kind.CLAIM, "the runtime reports the version 99.0.0", ClaimsVersion,
        (*UNCONFIRMED, "version"), "a check of the version by the installed distribution",
    ),
)  # fmt: skip
