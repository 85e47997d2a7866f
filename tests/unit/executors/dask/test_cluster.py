"""An invalid or unreachable cluster: one clear message each, without any cluster."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from harness.core.errors import ConfigurationError, TargetUnavailable
from harness.core.target import Target
from harness.executors.dask import cluster
from harness.executors.dask.cluster import Cluster
from harness.executors.dask.executor import DaskExecutor


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "executor.scheduler: is an address like tls://scheduler.local:8786, not None"),
        ({"scheduler": "scheduler.local:8786"}, "executor.scheduler"),
        ({"scheduler": "tls://scheduler.local"}, "executor.scheduler"),
        ({"scheduler": "tls://a:port"}, "executor.scheduler"),
        ({"scheduler": "http://a:1"}, "executor.scheduler"),
        ({"scheduler": "tls://a:1", "resource": ""}, "executor.resource"),
        ({"scheduler": "tls://a:1", "ca": "no/such.pem"}, "executor.ca: no/such.pem cannot be read"),
        ({"scheduler": "tls://a:1", "key": 1}, "executor.key: is the path of a PEM file"),
        ({"scheduler": "tls://a:1", "retries": "x"}, "executor.retries"),
        ({"scheduler": "tls://a:1", "hosts": []}, "executor.hosts: unknown key; known: kind, scheduler"),
    ],
)
def test_invalid_tables(table: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        DaskExecutor(Target("pis", "", ("null",), {"kind": "dask", **table}), Path())
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "address", ["tcp://scheduler.local:8786", "tcp://192.0.2.1:8786", "tcp://[2001:db8::1]:1"]
)
def test_other_machines_are_reached_over_tls_only(address: str) -> None:
    with pytest.raises(TargetUnavailable, match="not reached over TLS") as caught:
        Cluster(address).connect()
    assert "can run any code" in caught.value.cause
    assert "docs/fleet.md" in caught.value.next_step


def test_dask_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(TargetUnavailable) as caught:
        Cluster("tcp://localhost:1").connect()
    assert "distributed is not installed here" in caught.value.what
    assert "[dask]" in caught.value.next_step


def test_tls_needs_certificates() -> None:
    pytest.importorskip("distributed")
    with pytest.raises(TargetUnavailable, match="no certificates are named"):
        Cluster("tls://127.0.0.1:1").connect()


def test_no_scheduler_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(cluster, "CONNECT_S", 0.2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(TargetUnavailable, match="no scheduler can be reached") as caught:
        Cluster(address).connect()
    assert "dask scheduler" in caught.value.next_step
