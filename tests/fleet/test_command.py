"""``harness validate`` and ``harness fleet`` with a real cluster."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pandas as pd
import pytest

from harness.core.job import Started
from harness.executors.dask import status
from harness.executors.dask.cluster import Cluster
from tests.e2e.shell import ACCURACY, MakeModel, Shell, check
from tests.fleet.cluster import DaskCluster, certificates
from tests.fleet.conftest import MakeBatch, Reach, do

COLUMNS = ["variant", "suite", "case", "severity", "metric", "reference", "setting"]


def write(
    harness: Shell, cluster: DaskCluster, name: str, resource: str = "board", files: Path | None = None
) -> None:
    """Write ``targets/NAME.toml`` where the command runs."""
    folder = harness.folder / "targets"
    folder.mkdir(exist_ok=True)
    pems = "".join(f"{key} = {json.dumps(str((files or cluster.folder) / path.name))}\n"
                   for key, path in cluster.files.items())  # fmt: skip
    (folder / f"{name}.toml").write_text(
        'description = "a fleet"\nbackends = ["onnxruntime"]\n[executor]\nkind = "dask"\n'
        f'scheduler = "{cluster.address}"\nresource = "{resource}"\n{pems}'
    )


def measured(harness: Shell, target: str) -> pd.DataFrame:
    rows = pd.read_csv(harness.run() / "measurements.csv", keep_default_na=False)
    return rows[rows.target == target].sort_values(COLUMNS).reset_index(drop=True)


def busy(cluster: DaskCluster) -> str:
    """Name of a worker that runs a batch now."""
    while True:
        fleet = status.fleet(Cluster(cluster.address, *map(str, cluster.files.values())))
        for worker in fleet["workers"]:
            if worker["runs"]:
                return str(worker["name"])


def test_validate_gives_the_rows_of_this_machine_and_skips_missing_fleets(
    harness: Shell, cluster: DaskCluster, model: MakeModel
) -> None:
    write(harness, cluster, "pis")
    write(harness, cluster, "jetsons", "jetson")
    certificates(harness.folder)
    write(harness, cluster, "outsiders", files=harness.folder)
    ended = harness("validate", "--target", "cpu,pis,jetsons,outsiders", "--model", model(), *ACCURACY)
    assert ended.code == 3, ended.err
    assert "Traceback" not in ended.err
    assert "connected are one (board=1), three (board=1), two (board=1)" in ended.out
    local, remote = (measured(harness, name) for name in ("cpu", "pis"))
    assert len(local) > 5
    pd.testing.assert_frame_equal(*(rows[[*COLUMNS, "value", "status"]] for rows in (local, remote)))
    for name, message in (
        ("jetsons", "has the resource jetson"),
        ("outsiders", "no scheduler can be reached"),
    ):
        rows = measured(harness, name)
        assert set(rows.status) == {"SKIPPED"}
        assert all(message in reason for reason in rows.reason)


def test_fleet_shows_what_runs_and_how_far_it_is(
    harness: Shell, cluster: DaskCluster, reach: Reach, batch: MakeBatch, model: MakeModel
) -> None:
    write(harness, cluster, "pis")
    idle = harness("fleet")
    assert idle.code == 0, idle.err
    head, columns, *workers = idle.out.splitlines()
    assert head == f"scheduler {cluster.address}"
    assert columns.split() == ["worker", "address", "resources", "runs"]
    assert [line.split()[0] for line in workers] == ["one", "three", "two"]
    assert all(line.split()[2:] == ["board=1", "free"] for line in workers), idle.out

    executor = reach()
    executor.probe(["null"])
    events = executor.run([batch(do("a"), do("b", "hang"))])
    assert any(isinstance(event, Started) and event.key.case == "b" for event in events)
    while True:  # the board learns in the host's next call that a job is done
        ended = harness("fleet", "--target", "pis", "--json")
        assert ended.code == 0, ended.err
        (fleet,) = json.loads(ended.out)
        (run,) = [run for worker in fleet["workers"] for run in worker["runs"]]
        if run["done"]:
            break
    assert (run["what"], run["done"], run["of"]) == ("pis null float32 planted", 1, 2)
    assert "pis null float32 planted: 1 of 2 jobs in" in harness("fleet").out

    # A run that finds a board busy waits for it, until it is interrupted.
    started = harness.start("validate", "--target", "pis", "--model", model(), *ACCURACY)
    while not started.err.readline().startswith("waiting for "):
        pass
    os.kill(started.pid, signal.SIGINT)
    ended = started.wait()
    assert ended.code == 3, ended.err
    assert "interrupted" in ended.err
    events.close()


def test_fleet_without_a_scheduler(harness: Shell, cluster: DaskCluster) -> None:
    check(harness("fleet"), 2, "no target file names a scheduler", "docs/fleet.md")
    check(harness("fleet", "--target", "cpu"), 2, "cpu is not a fleet: its executor is local")
    check(harness("fleet", "--scheduler", "nowhere"), 2, "is an address like tls://")
    check(harness("fleet", "--scheduler", "tcp://192.0.2.1:1"), 3, "not reached over TLS")
    check(harness("fleet", "--scheduler", cluster.address), 3, "no certificates are named")


@pytest.mark.full
def test_a_run_that_lost_a_board_has_the_rows_of_one_that_did_not(
    harness: Shell, cluster: DaskCluster, model: MakeModel
) -> None:
    write(harness, cluster, "pis")
    folder = model()
    assert harness("validate", "--target", "pis", "--model", folder).code == 0
    undisturbed = measured(harness, "pis")
    harness.run().rename(harness.folder / "undisturbed")

    started = harness.start("validate", "--target", "pis", "--model", folder)
    while "pis onnxruntime" not in started.err.readline():
        pass
    lost = busy(cluster)
    cluster.kill(lost)
    ended = started.wait()
    cluster.start(lost)
    assert ended.code == 0, ended.out
    disturbed = measured(harness, "pis")
    pd.testing.assert_frame_equal(undisturbed[COLUMNS], disturbed[COLUMNS])
    assert set(disturbed.status) == set(undisturbed.status)


@pytest.mark.full  # what differs from this machine: tests/unit/explain/search/test_procedure.py
def test_a_failure_on_a_fleet_carries_its_cause(
    harness: Shell, cluster: DaskCluster, model: MakeModel
) -> None:
    """Of a run, of the stored run, and between this machine and the fleet."""
    write(harness, cluster, "pis")
    file, folder = harness.folder / "targets" / "pis.toml", model()
    fault = '[deploy]\nthreads = 1\nextra = { planted-fault = "permuted-classes 0.0" }\n'
    file.write_text(file.read_text() + fault)
    ended = harness("validate", "--target", "pis", "--model", folder, *ACCURACY, env={"HARNESS_EXPLAIN": ""})
    assert ended.code == 1, ended.out + ended.err
    cause = "pis gives its classes in another order: 0 is 1, 1 is 2, 2 is 3, 3 is 0"
    assert f"CAUSE        float32 on pis: {cause} (" in ended.out
    asked = harness("explain", "--model", folder, "--between", "cpu,pis")
    assert asked.code == 0, asked.out + asked.err
    assert f"CAUSE             {cause}" in asked.out.splitlines()
    stored = harness("explain", "latest")
    assert f"CAUSE        float32 on pis: {cause} (" in stored.out
