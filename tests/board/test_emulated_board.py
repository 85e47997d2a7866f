"""The real thing: sshd into an emulated aarch64 userland, with wheels that the host fetches for it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.core.artifact import Artifact, describe_file
from harness.core.errors import TargetUnavailable
from harness.core.job import Batch, Case, DataRef, EnvironmentRecord, JobResult, Options, Status
from harness.core.preprocess import Preprocess
from harness.core.target import Target
from harness.executors.emulated.executor import EmulatedExecutor
from harness.executors.emulated.userland import emulator, userland
from harness.store.cache import Cache
from harness.testing.models import AFFINE
from tests.board.board import Board, board, why_no_emulation
from tests.board.conftest import MakeBatch, Reach, do


@pytest.fixture(scope="module")
def arm_board(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Iterator[Board]:
    if reason := why_no_emulation():
        pytest.skip(reason)
    try:
        root = userland("aarch64", ("dash", "coreutils"), (), store)
        qemu = emulator("aarch64", store)
    except TargetUnavailable as error:
        pytest.skip(f"no userland can be made here: {error.what}; {error.cause}")
    with board(tmp_path_factory.mktemp("boards") / "arm") as made:
        shutil.copytree(root, made.folder / "root", symlinks=True)
        made.emulate(made.folder / "root", qemu, "cortex-a72")
        yield made


@pytest.mark.full
def test_the_host_makes_an_arm_board_ready(arm_board: Board, reach: Reach, batch: MakeBatch) -> None:
    executor = reach(arm_board)
    assert executor.probe(["null"])["null"].version == "1"
    events = list(executor.run([batch(do("a"))]))
    facts = next(event.facts for event in events if isinstance(event, EnvironmentRecord))
    assert facts["arch"] == "aarch64"
    (good,) = [event for event in events if isinstance(event, JobResult)]
    assert good.status is Status.OK
    executor.close()
    assert not arm_board.running()


@pytest.mark.full
def test_the_same_numbers_as_under_emulation_alone(
    arm_board: Board, reach: Reach, store: Path, tmp_path: Path
) -> None:
    (tmp_path / "affine.onnx").write_bytes(AFFINE.to_onnx().SerializeToString())
    model = Artifact("float32", "onnx", (describe_file(tmp_path / "affine.onnx"),), tmp_path)
    x = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    digest = Cache(store).put_array(x)
    case = Case(
        "clean",
        data="clean",
        samples=10,
        params={"batch": 4, "keep": "outputs", "task": "regression", "reference": False},
    )
    made = Batch(
        "pi", "onnxruntime", "float32", "accuracy", model, {"deploy": Options(), "parity": Options()},
        {"x": Preprocess()}, {"clean": DataRef({"x": digest}, 10, x.nbytes)}, (case,),
    )  # fmt: skip
    table = {"kind": "emulated", "arch": "aarch64", "cpu": "cortex-a72"}
    emulated = EmulatedExecutor(Target("pi", "", ("onnxruntime",), table), store)
    over_ssh = reach(arm_board)
    for device in over_ssh._devices:
        whole = {**device.connection._target.executor}
        del whole["requirements"]
        device.connection._target = replace(
            device.connection._target, backends=("onnxruntime",), executor=whole
        )
    outputs = []
    for executor in (over_ssh, emulated):
        assert not executor.probe(["onnxruntime"])["onnxruntime"].reason
        (result,) = [event for event in executor.run([made]) if isinstance(event, JobResult)]
        assert result.status is Status.OK, result.reason
        outputs.append(result.samples.arrays["output:0"])
    np.testing.assert_array_equal(*outputs)
    np.testing.assert_allclose(outputs[0], AFFINE.oracle({"x": x}), rtol=1e-5)
