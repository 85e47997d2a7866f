"""An open session of the conformance kit, and mistakes in its feeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.core.artifact import Artifact
from harness.core.contracts import DeviceCall, Session, SupportsBinding, SupportsDeviceBinding
from harness.core.preprocess import Feeds, to_feeds, to_outputs
from harness.testing.models import KnownModel

Mistake = Callable[[Feeds], dict[str, Any]]


def _changed(change: Callable[[NDArray[Any]], Any]) -> Mistake:
    """Return a mistake in the first input."""

    def apply(feeds: Feeds) -> dict[str, Any]:
        name = next(iter(feeds))
        return {**feeds, name: change(feeds[name])}

    return apply


MISTAKES: Mapping[str, Mistake] = {
    "unknown_name": lambda feeds: {f"{name}_": array for name, array in feeds.items()},
    "missing_input": lambda feeds: dict(list(feeds.items())[1:]),
    "extra_input": lambda feeds: {**feeds, "extra": np.zeros(1, np.float32)},
    "longer_row": _changed(lambda x: np.concatenate([x, x[..., :1]], axis=-1)),
    "shorter_row": _changed(lambda x: x[..., :-1].copy()),
    "same_bytes_other_shape": _changed(lambda x: x.reshape(x.shape[-1], -1)),
    "fewer_dimensions": _changed(lambda x: x[0].copy()),
    "more_dimensions": _changed(lambda x: x[None]),
    "scalar": _changed(lambda x: np.array(1, x.dtype)),
    "float64": _changed(lambda x: x.astype(np.float64)),
    "float16": _changed(lambda x: x.astype(np.float16)),
    "int32": _changed(lambda x: x.astype(np.int32)),
    "uint8": _changed(lambda x: x.astype(np.uint8)),
    "big_endian": _changed(lambda x: x.astype(">f4")),
    "text": _changed(lambda x: x.astype(np.str_)),
    "list": _changed(lambda x: x.tolist()),
    "none": _changed(lambda _: None),
}


class Opened:
    """An open session that takes canonical feeds and gives the one canonical output."""

    def __init__(self, model: KnownModel, artifact: Artifact, session: Session) -> None:
        self.model, self.artifact, self.session = model, artifact, session

    def file_feeds(self, feeds: Feeds) -> Feeds:
        """Convert feeds to those of the file."""
        return to_feeds(feeds, self.artifact, self.session.inputs)

    def run(self, feeds: Feeds) -> NDArray[Any]:
        """Run once."""
        return self._output(self.session.run(self.file_feeds(feeds)))

    def bind(self, feeds: Feeds) -> Callable[[], NDArray[Any]]:
        """Bind, or skip the test."""
        if not isinstance(self.session, SupportsBinding):
            pytest.skip(f"{type(self.session).__name__} has no bind")
        call = self.session.bind(self.file_feeds(feeds))
        return lambda: self._output(call())

    def bind_device(self, feeds: Feeds) -> DeviceCall:
        """Bind on the device, or skip the test."""
        if not isinstance(self.session, SupportsDeviceBinding):
            pytest.skip(f"{type(self.session).__name__} has no bind_device")
        return self.session.bind_device(self.file_feeds(feeds))

    def fetched(self, call: DeviceCall) -> NDArray[Any]:
        """Fetch the output of a call."""
        return self._output(call.fetch())

    def _output(self, outputs: Any) -> NDArray[Any]:  # noqa: ANN401 - what bind returns is an object
        assert set(outputs) == {spec.name for spec in self.session.outputs}
        (output,) = to_outputs(outputs, self.artifact, self.session.outputs).values()
        return output

    def __enter__(self) -> Opened:
        self.session.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self.session.__exit__(*exc)
