"""A planted slowdown: a real backend with calls that take a tenth longer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

from harness.core.artifact import Artifact, TensorSpec
from harness.core.contracts import Availability, Session, SupportsBinding
from harness.core.job import Options
from harness.core.preprocess import Feeds, Outputs
from harness.device import plugins

#: Environment variable: how much longer a call takes, as a share of its time.
SHARE = "HARNESS_TESTING_SLOWED"


#: For `harness.testing.fakes.register`.
PLUGIN = {plugins.BACKENDS: {"slowed": f"{__name__}:SlowedBackend"}}


class SlowedSession:
    """Waits actively after each call, for its duration times `share`."""

    def __init__(self, session: Session, share: float) -> None:
        self._session, self._share = session, share

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Those of the real session."""
        return self._session.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Those of the real session."""
        return self._session.outputs

    @property
    def effective(self) -> Mapping[str, str]:
        """That of the real session."""
        return self._session.effective

    def run(self, feeds: Feeds) -> Outputs:
        """Run, and wait."""
        outputs: Outputs = self._slowly(lambda: self._session.run(feeds))()
        return outputs

    def bind(self, feeds: Feeds) -> Callable[[], Any]:
        """The real session's fastest call, and a wait."""
        if isinstance(self._session, SupportsBinding):
            return self._slowly(self._session.bind(feeds))
        return self._slowly(lambda: self._session.run(feeds))

    def _slowly(self, call: Callable[[], Any]) -> Callable[[], Any]:
        share, clock = self._share, time.perf_counter_ns

        def slowed() -> Any:  # noqa: ANN401 - whatever the call returns
            start = clock()
            result = call()
            now = clock()
            end = now + (now - start) * share
            while clock() < end:
                pass
            return result

        return slowed

    def __enter__(self) -> Self:
        self._session.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._session.__exit__(*exc)


class SlowedBackend:
    """ONNX Runtime, slowed by the share in the environment variable ``SHARE``."""

    name = "slowed"
    formats: tuple[str, ...] = ("onnx",)

    def probe(self) -> Availability:
        """Probe the real backend."""
        availability: Availability = plugins.choose(plugins.BACKENDS, "onnxruntime")().probe()
        return availability

    def open(self, artifact: Artifact, options: Options) -> Session:
        """Open with the real backend."""
        real = plugins.choose(plugins.BACKENDS, "onnxruntime")()
        return SlowedSession(real.open(artifact, options), float(os.environ.get(SHARE, "0.1")))
