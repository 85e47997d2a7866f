"""Only a batch that asks for a fault gets one, and no runtime sees the option."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from harness.core.artifact import Artifact, File
from harness.core.errors import UsageError
from harness.core.job import DEPLOY, PARITY, Batch, Options
from harness.device import planted, plugins
from harness.testing.faults import HEALTHY
from harness.testing.faults.planted import PlantedBackend
from tests.unit.testing.faults.linear import LinearBackend, samples

ARTIFACT = Artifact("float32", "onnx", (File("m.onnx", "0" * 64, 0),), Path())


def batch() -> Batch:
    options = {PARITY: Options(threads=1), DEPLOY: Options(extra={"device_id": "1"})}
    return Batch("cpu", "linear", "float32", "s", ARTIFACT, options, {}, {}, ())


def test_a_batch_that_asks_for_nothing_gets_the_real_backend() -> None:
    real = LinearBackend()
    assert planted.plant(real, batch()) is real


def test_the_fault_travels_with_the_batch_and_its_size() -> None:
    asked = planted.asking(batch(), "offset", 0.5)
    received = Batch.from_json(asked.to_json(), ARTIFACT)
    real = LinearBackend()
    backend = planted.plant(real, received)
    assert isinstance(backend, PlantedBackend)
    session = backend.open(ARTIFACT, received.options[DEPLOY])
    difference = (
        session.run({"x": samples()})["y"]
        - LinearBackend().open(ARTIFACT, Options()).run({"x": samples()})["y"]
    )
    assert difference == pytest.approx(0.5, abs=1e-6)
    assert real.sessions[0].options == Options(extra={"device_id": "1"})


def test_an_unknown_fault_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown fault 'ofset'; did you mean 'offset'"):
        planted.plant(LinearBackend(), planted.asking(batch(), "ofset", 1.0))


def test_two_catalogues_may_not_share_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("mine", "harness.testing.faults:FAULTS", plugins.FAULTS)
    again = {name: plugins.Plugin(name, plugins.FAULTS, name, entry) for name in ("one", "other")}
    monkeypatch.setattr(plugins, "catalogue", lambda group: again)
    with pytest.raises(UsageError, match="two catalogues have a fault healthy: one and other"):
        planted.catalogue()


def test_the_catalogue_is_no_backend() -> None:
    assert HEALTHY.name in planted.catalogue()
    assert not {"planted", "healthy"} & set(plugins.catalogue(plugins.BACKENDS))
