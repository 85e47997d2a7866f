"""What reads files and streams that anybody may have written, one function each, and valid content for it.

A reader returns, or raises an error of the harness. Anything else is a fault.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from harness.compression import model_file
from harness.compression.canonical import canonicalise
from harness.compression.export import export_tflite
from harness.config.load import load_validation, read_toml
from harness.config.targets import TargetTable
from harness.core import npy
from harness.core.artifact import Artifact, File
from harness.core.errors import HarnessError
from harness.core.job import Batch, Case, EnvironmentRecord, JobKey, JobResult, Options, Samples, Status
from harness.core.plan import Plan
from harness.core.tflite_file import read_tflite
from harness.core.wire import read_frame, write_frame
from harness.data import readers, tables
from harness.store import bulk, journal
from harness.store import tables as stored_tables
from harness.store.run_folder import RunFolder
from tests.stored_run import RUN

ROOT = Path(__file__).parents[2]
#: So much at most is read of a file: a mutation must not make a test read gigabytes.
MAX_BYTE = 2**20

Read = Callable[[bytes, Path], object]


@dataclass(frozen=True)
class Reader:
    """A reader.

    Parameters
    ----------
    read : callable
        Gets the content, and an empty folder of its own.
    seeds : tuple of bytes
        Valid contents.
    words : tuple of bytes
        That a mutation may insert.
    """

    read: Read
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()

    def is_safe(self, content: bytes, folder: Path) -> None:
        """Read; raises what is no error of the harness."""
        with contextlib.suppress(HarnessError):
            self.read(content, folder)


def stored(name: str, read: Callable[[Path], object]) -> Read:
    """A reader of a file with that name."""

    def reader(content: bytes, folder: Path) -> object:
        path = folder / name
        path.write_bytes(content)
        return read(path)

    return reader


def npy_content() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.arange(6, dtype=np.float32).reshape(2, 3))
    return stream.getvalue()


def npz_content(*, compressed: bool) -> bytes:
    stream = io.BytesIO()
    save = np.savez_compressed if compressed else np.savez
    save(stream, x=np.arange(6, dtype=np.uint8).reshape(3, 2), labels=np.arange(3))
    return stream.getvalue()


def idx_content() -> bytes:
    array = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    return bytes((0, 0, 8, 3)) + struct.pack(">3I", *array.shape) + array.tobytes()


def onnx_content(*, external: bool) -> bytes:
    weights = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    if external:
        weights.ClearField("raw_data")
        weights.data_location = TensorProto.EXTERNAL
        for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", "16")):
            weights.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])], [weights],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def read_onnx(path: Path) -> None:
    (path.parent / "weights.bin").write_bytes(bytes(16))
    # The last word on a model that the checker refuses has ONNX Runtime, in a process of its own.
    with mock.patch.object(model_file, "_opens", return_value=False):
        model_file.inspect_onnx(model_file.load_onnx(path))


KEY = JobKey("cpu", "null", "deploy", "float32", "accuracy", "clean", 0)
ARTIFACT = Artifact("float32", "onnx", (File("m", "0" * 64, 1),), Path())
BATCH = Batch("cpu", "null", "float32", "accuracy", ARTIFACT, {"deploy": Options()}, {}, {}, (Case("clean"),))


def run_file(name: str) -> bytes:
    """The content of a file of a small run."""
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        folder = RunFolder(Path(temporary) / "run")
        folder.create({**RUN, "versions": {"numpy": "2"}}, Plan((BATCH,), (), (), 1.0), np.arange(2))
        with folder.journal() as written:
            facts = {"load_1min": 0.5, "cpu_time": {"busy": 1, "idle": 2, "steal": 0}}
            written.append(EnvironmentRecord("cpu", "null", "float32", "accuracy", "before", facts))
            samples = Samples({"x": np.arange(3)}, {"n": 5})
            written.append(JobResult(KEY, Status.OK, "", samples, {"provider": "cpu"}, "2026", 7))
        return (folder.path / name).read_bytes()


def read_run_file(name: str) -> Read:
    """Read a run in which one file is as given."""
    others = {other: run_file(other) for other in ("run.json", "plan.json", "cards.json", "labels.npy")}

    def reader(content: bytes, folder: Path) -> object:
        for other, whole in {**others, name: content}.items():
            (folder / other).write_bytes(whole)
        return RunFolder(folder).facts()

    return reader


def frame_content() -> bytes:
    stream = io.BytesIO()
    write_frame(stream, {"type": "result", "key": list(KEY), "values": {"n": 1}}, {"x": np.arange(3)})
    return stream.getvalue()


def read_frames(content: bytes, folder: Path) -> None:
    stream = io.BytesIO(content)
    while read_frame(stream, MAX_BYTE) is not None:
        pass


def read_array(content: bytes, folder: Path) -> None:
    with contextlib.suppress(ValueError):  # which each of its callers makes an error of its own
        npy.from_bytes(content)


def table_content() -> bytes:
    return stored_tables.csv_bytes(
        stored_tables.COLUMNS,
        [{**dict.fromkeys(stored_tables.COLUMNS, "a"), "value": 1.5, "ci_low": 1.0, "ci_high": float("nan"),
          "n": 3, "severity": 0, "status": "OK"}],
    )  # fmt: skip


def verdicts_content() -> bytes:
    texts = {**dict.fromkeys(stored_tables.VERDICT_COLUMNS, "a"), "state": "PASS", "severity": "block"}
    record = {**texts, "value": 0.5, "ci_low": 0.1, "ci_high": 0.9, "limit": 1.0, "n": 3}
    return stored_tables.csv_bytes(stored_tables.VERDICT_COLUMNS, [record])


def tflite_content() -> bytes:
    model = canonicalise(onnx.load_from_string(onnx_content(external=False)))
    return export_tflite(model, name="m", runtime="litert").data


TARGET = b'description = "mine"\nbackends = ["onnxruntime"]\n[deploy]\nthreads = 1\nprovider = "x"\n'
CSV = b"a,b,label\n1.5,2,cat\n2.5,3,dog\n3,4.25,cat\n"
CARDS = b'{"float32": {"files": {"onnx": {"size_byte": 9}}, "layers": [], "notes": []}}'
CSV_WORDS = (b'"', b";", b"\t", b"\r", b"\n", b"\0", b"nan", b"1e999", b",,,", b"#", b"\xff\xfe", b"sep=;\n")

READERS: Mapping[str, Reader] = {
    "npy": Reader(stored("x.npy", lambda path: readers.read_npy(path, MAX_BYTE)), (npy_content(),)),
    "npz": Reader(
        stored("x.npz", lambda path: readers.read_npz(path, max_bytes=MAX_BYTE)),
        (npz_content(compressed=False), npz_content(compressed=True)),
    ),
    "idx": Reader(stored("x-idx3-ubyte", lambda path: readers.read_idx(path, MAX_BYTE)), (idx_content(),)),
    "idx-gz": Reader(
        stored("x-idx3-ubyte.gz", lambda path: readers.read_idx(path, MAX_BYTE)),
        (gzip.compress(idx_content(), mtime=0),),
    ),
    "csv": Reader(
        stored("x.csv", lambda path: tables.read(path, label_columns=("label",), max_bytes=MAX_BYTE)),
        (CSV,), CSV_WORDS,
    ),
    "validation": Reader(
        stored("validation.toml", load_validation),
        ((ROOT / "models" / "rows" / "validation.toml").read_bytes(),),
        (b"[[", b"]]", b'"""', b"\\u", b"nan", b"inf", b"1e400", b"true", b"{ a = {", b"\r"),
    ),
    "target": Reader(stored("t.toml", lambda path: read_toml(path, TargetTable)), (TARGET,)),
    "array": Reader(read_array, (npy_content(),)),
    "frame": Reader(read_frames, (frame_content(),), (b"NaN", b"[[", b'"arrays"', b"-1", b"|O", b"<U1")),
    "journal": Reader(
        stored(journal.FILE, lambda path: journal.read(path.parent)), (run_file(journal.FILE),)
    ),
    "run.json": Reader(read_run_file("run.json"), (run_file("run.json"),)),
    "plan.json": Reader(read_run_file("plan.json"), (run_file("plan.json"),), (b"null", b"[]", b"1e999")),
    "cards.json": Reader(read_run_file("cards.json"), (CARDS,)),
    "labels.npy": Reader(read_run_file("labels.npy"), (run_file("labels.npy"),)),
    "measurements": Reader(
        stored("measurements.csv", stored_tables.read), (table_content(),), CSV_WORDS
    ),
    "measurements-bulk": Reader(
        stored("measurements.csv", lambda path: bulk.read(path, stored_tables.COMPARED, threads=False)),
        (table_content(),), CSV_WORDS,
    ),
    "verdicts": Reader(
        stored("verdicts.csv", stored_tables.read_verdicts), (verdicts_content(),), CSV_WORDS
    ),
    "onnx": Reader(stored("m.onnx", read_onnx), (onnx_content(external=False),)),
    "onnx-external": Reader(
        stored("m.onnx", read_onnx), (onnx_content(external=True),),
        (b"../weights.bin", b"/etc/passwd", b"-1", b"99999999999999999999", b"location", b"."),
    ),
    "tflite": Reader(stored("m.tflite", read_tflite), (tflite_content(),)),
}  # fmt: skip
