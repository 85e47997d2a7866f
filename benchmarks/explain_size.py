"""Memory and time of ``harness explain`` on an encoder of 100 MB, and its time on digits."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.paired import heading

WIDTH, HEADS, BLOCKS, LENGTH, FEATURES, SAMPLES = 416, 8, 12, 256, 32, 40
LIMIT_BYTE, LIMIT_S = 4 * 2**30, 30.0
#: Between two looks at the memory of all processes.
STEP_S = 0.05
PAGE_BYTE = os.sysconf("SC_PAGE_SIZE")


def encoder(width: int = WIDTH, blocks: int = BLOCKS) -> onnx.ModelProto:
    """A transformer encoder with random weights; the length of its sequences is open."""
    random = np.random.default_rng(0)
    nodes, constants = list[onnx.NodeProto](), list[onnx.TensorProto]()

    def put(name: str, array: np.ndarray, dtype: type = np.float32) -> str:
        constants.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def add(kind: str, inputs: list[str], name: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def dense(x: str, name: str, depth: int, count: int) -> str:
        weight = put(f"{name}.w", random.normal(0, depth**-0.5, (depth, count)))
        return add(
            "Add", [add("MatMul", [x, weight], f"{name}.product"), put(f"{name}.b", np.zeros(count))], name
        )

    def norm(x: str, name: str) -> str:
        scale, bias = put(f"{name}.s", np.ones(width)), put(f"{name}.b", np.zeros(width))
        return add("LayerNormalization", [x, scale, bias], name, axis=-1)

    split = put("split", np.array([0, 0, HEADS, width // HEADS]), np.int64)
    join = put("join", np.array([0, 0, width]), np.int64)
    root = put("root", np.array((width // HEADS) ** -0.5))
    half, one, two = put("half", np.array(0.5)), put("one", np.array(1.0)), put("two", np.array(2.0**0.5))
    x = dense("tokens", "embed", FEATURES, width)
    for block in range(blocks):
        at = f"block{block}"
        y = norm(x, f"{at}.norm1")
        q, k, v = (dense(y, f"{at}.{name}", width, width) for name in "qkv")
        q, k, v = (
            add("Transpose", [add("Reshape", [whole, split], f"{whole}.split")], f"{whole}.heads", perm=perm)
            for whole, perm in ((q, [0, 2, 1, 3]), (k, [0, 2, 3, 1]), (v, [0, 2, 1, 3]))
        )
        scores = add("Mul", [add("MatMul", [q, k], f"{at}.scores"), root], f"{at}.scaled")
        mixed = add("MatMul", [add("Softmax", [scores], f"{at}.softmax", axis=-1), v], f"{at}.mixed")
        mixed = add("Transpose", [mixed], f"{at}.back", perm=[0, 2, 1, 3])
        mixed = dense(add("Reshape", [mixed, join], f"{at}.joined"), f"{at}.out", width, width)
        x = add("Add", [x, mixed], f"{at}.sum1")
        y = dense(norm(x, f"{at}.norm2"), f"{at}.wide", width, 4 * width)
        gelu = add(
            "Add", [add("Erf", [add("Div", [y, two], f"{at}.divided")], f"{at}.erf"), one], f"{at}.moved"
        )
        gelu = add("Mul", [add("Mul", [y, gelu], f"{at}.gated"), half], f"{at}.gelu")
        x = add("Add", [x, dense(gelu, f"{at}.narrow", 4 * width, width)], f"{at}.sum2")
    pooled = add("ReduceMean", [norm(x, "norm")], "pooled", axes=[1], keepdims=0)
    dense(pooled, "scores", width, 10)
    graph = helper.make_graph(
        nodes, "encoder",
        [helper.make_tensor_value_info("tokens", TensorProto.FLOAT, ["n", "length", FEATURES])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 10])], constants,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def report() -> None:
    heading("harness explain --between cpu,openvino")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = encoder().SerializeToString()
        (folder / "model.onnx").write_bytes(model)
        x = np.random.default_rng(1).normal(0, 1, (SAMPLES, LENGTH, FEATURES)).astype(np.float32)
        np.savez(folder / "test.npz", x=x, y=np.arange(SAMPLES) % 10)
        (folder / "validation.toml").write_text(
            'schema = 1\n[model]\nname = "encoder"\nfile = "model.onnx"\ntask = "classification"\n'
            '[data]\npath = "test.npz"\n'
        )
        for label, chosen in ((f"encoder, {len(model) / 1e6:.0f} MB", folder), ("digits", None)):
            rc, seconds, peak_byte, text = explained(folder, chosen)
            share = peak_byte / LIMIT_BYTE
            print(f"  {label}: {seconds:.1f} s ({seconds / LIMIT_S:.2f} of {LIMIT_S:.0f} s), "
                  f"peak {peak_byte / 2**30:.2f} GiB ({share:.2f} of 4 GiB), exit {rc}")  # fmt: skip
            cause = [line for line in text.splitlines() if line.startswith("CAUSE")]
            print("\n".join(f"    {line}" for line in cause or text.splitlines()[-8:]), flush=True)


def explained(results: Path, model: Path | None) -> tuple[int, float, int, str]:
    """Exit code, seconds, most bytes resident of all processes together, and the printed text."""
    command = [sys.executable, "-m", "harness.cli.main", "explain", "--between", "cpu,openvino"]
    command += ["--results", str(results / "results")]
    command += ["--model", str(model)] if model is not None else []
    began_s, peak_byte = time.monotonic(), 0
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak_byte = max(peak_byte, resident_byte(process.pid))
            time.sleep(STEP_S)
        output.seek(0)
        return process.returncode, time.monotonic() - began_s, peak_byte, output.read()


def resident_byte(root: int) -> int:
    """Resident memory of a process and all that it started."""
    parents, sizes_byte = dict[int, int](), dict[int, int]()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            sizes_byte[int(path.name)] = int((path / "statm").read_text().split()[1]) * PAGE_BYTE
        except (OSError, IndexError):
            continue  # it ended
    members = {root}
    while more := {child for child, parent in parents.items() if parent in members} - members:
        members |= more
    return sum(sizes_byte.get(member, 0) for member in members)
