"""KL divergence of logits: tokens a second of the harness, over those of the two models alone.

The goal is for 1,000 documents of 512 tokens and a vocabulary of 32,000. The rate does not depend on the
number of documents, so some are run; the logits of two calls at most are in memory.
"""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from backends.onnxruntime_ import OnnxRuntimeBackend
from benchmarks.paired import Figures, Goal, heading, in_processes, line, take_turns
from benchmarks.throughput import LastingSession
from harness.core.artifact import Artifact, describe_file
from harness.core.job import DEPLOY, PARITY, Batch, Case, DataRef, Options, merge
from harness.core.preprocess import Preprocess
from harness.core.token_numbers import NO_TARGET
from harness.device.files import FileStore
from harness.device.worker import DeviceBench, StoredData
from harness.store.cache import Cache
from suites.accuracy.measure import measure

VOCABULARY, LENGTH, DOCUMENTS, WIDTH = 32_000, 512, 4, 512
PROCESSES, ROUNDS = 3, 2
GOAL = 0.8


def report() -> None:
    heading(f"KL divergence: rate of the harness / of the runtimes alone, {LENGTH} tokens × {VOCABULARY:,}")
    for threads in (1, 2):
        intervals = in_processes("benchmarks.tokens:sample", {"threads": threads}, PROCESSES)
        line(f"onnxruntime, {threads} thread(s)", intervals["rate"], Goal(GOAL, least=True))
        line("  thousand tokens a second", intervals["thousand_per_s"], form="{:.2f}")
        line("  most memory / that of one call's logits", intervals["memory"], form="{:.1f}")


def decoder(seed: int) -> onnx.ModelProto:
    """One hidden layer and the head of a decoder: the less else a model computes, the more logits weigh."""
    random = np.random.default_rng(seed)
    shapes = {"embed": (VOCABULARY, WIDTH), "inner": (WIDTH, WIDTH), "head": (WIDTH, VOCABULARY)}
    constants = [
        numpy_helper.from_array(random.normal(0, shape[0] ** -0.5, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Gather", ["embed", "input_ids"], ["x"]),
        helper.make_node("MatMul", ["x", "inner"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "head"], ["logits"]),
    ]
    shape = ["documents", "length"]
    graph = helper.make_graph(
        nodes, "decoder", [helper.make_tensor_value_info("input_ids", TensorProto.INT64, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [*shape, VOCABULARY])], constants,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def sample(request: dict[str, Any]) -> Figures:
    """Time the case, and both models alone on the same documents, whose logits are dropped."""
    with tempfile.TemporaryDirectory() as name:
        bench, case = _bench(Path(name), request["threads"])
        sessions = [bench.open(), bench.open(bench.beside, setting=PARITY)]
        lasting = [LastingSession(session) for session in sessions]
        bench.open = lambda artifact=None, **_: lasting[artifact is not None]  # type: ignore[method-assign]
        feeds = [bench.data.feeds("clean", row, row + 1) for row in range(DOCUMENTS)]
        took: dict[str, list[float]] = {"harness": [], "bare": []}

        def bare() -> None:
            for one in feeds:
                for session in sessions:
                    session.run(one)

        def timed(side: str) -> None:
            began = time.perf_counter()
            merge(measure(bench, case)) if side == "harness" else bare()
            took[side].append(time.perf_counter() - began)

        timed("bare")
        before_byte = _most_byte()
        timed("harness")
        more_byte = _most_byte() - before_byte
        took = {side: [] for side in took}
        take_turns(partial(timed, "harness"), partial(timed, "bare"), ROUNDS, swap=request["index"] % 2 == 1)
    seconds = {side: float(np.median(times)) for side, times in took.items()}
    return {
        "rate": seconds["bare"] / seconds["harness"],
        "thousand_per_s": DOCUMENTS * LENGTH / 1e3 / seconds["harness"],
        "memory": max(1, more_byte) / (4 * LENGTH * VOCABULARY),
    }


def _most_byte() -> int:
    """The most memory of this process so far."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) * 1024


def _bench(folder: Path, threads: int) -> tuple[DeviceBench, Case]:
    artifacts = []
    for seed, variant in enumerate(("float32", "int8")):  # the second one has other weights, and is no int8
        path = folder / f"{variant}.onnx"
        onnx.save(decoder(seed), path)
        artifacts.append(Artifact(variant, "onnx", (describe_file(path),), folder))
    ids = np.random.default_rng(2).integers(0, VOCABULARY, (DOCUMENTS, LENGTH))
    targets = np.full(ids.shape, NO_TARGET, np.int32)
    targets[:, :-1] = ids[:, 1:]
    cache = Cache(folder)
    data = DataRef({"input_ids": cache.put_array(ids)}, DOCUMENTS, ids.nbytes, cache.put_array(targets))
    params = {"batch": 32, "task": "tokens", "scored": "logits", "outputs": ["logits"]}
    case = Case("clean", data="clean", samples=DOCUMENTS, params=params, beside="float32")
    options = Options(threads=threads)
    batch = Batch(
        "cpu", "onnxruntime", "int8", "accuracy", artifacts[1], {DEPLOY: options, PARITY: options},
        {"input_ids": Preprocess(dtype="int64")}, {"clean": data}, (case,), artifacts[0],
    )  # fmt: skip
    data_access = StoredData(batch, FileStore(cache.folder))
    return DeviceBench(batch, batch.jobs[0], OnnxRuntimeBackend(), data_access), case
