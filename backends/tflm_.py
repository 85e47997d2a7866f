"""TFLite files on TensorFlow Lite for Microcontrollers, built for this machine: the wheel ``tflite-micro``.

The kernels are the portable reference ones, in the arithmetic that a microcontroller runs them with. What its
vendor's kernels (CMSIS-NN, Xtensa) compute may differ, and times here say nothing of it.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import Artifact, Quantization, TensorSpec
from harness.core.commands import install
from harness.core.contracts import Availability, Footprint, Session
from harness.core.errors import BackendError, FileRefused
from harness.core.job import Options
from harness.core.preprocess import Feeds, Outputs
from harness.core.seam import absent, check_feeds, confirm, opening, refusal
from harness.core.tflite_file import read_tflite, refuse_resources

PROVIDER = "TFLM"
#: The option that says how much memory the device has for tensors.
ARENA = "arena_byte"
#: Without it the arena grows by this factor until the model fits, up to the largest.
FIRST_ARENA_BYTE, GROWTH, LARGEST_ARENA_BYTE = 1 << 20, 4, 1 << 32
_TOTAL = re.compile(r"Arena allocation total (\d+) bytes")
_NO_KERNEL = re.compile(r"Didn't find op for|Failed to get registration")
_NO_ROOM = re.compile(r"Requested: \d+, available \d+|[Ff]ailed to allocate")


class TflmSession:
    """One interpreter. It has no dimension that can change: several samples are as many calls.

    Parameters
    ----------
    interpreter : Interpreter
    inputs, outputs : tuple of TensorSpec
    keeps_state : bool
        Its variable tensors are reset before each call.
    file_byte : int
    """

    def __init__(
        self,
        interpreter: Any,  # noqa: ANN401 - lazily imported
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        *,
        keeps_state: bool,
        file_byte: int,
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        self.effective: Mapping[str, str] = {"provider": PROVIDER, "precision": "f32", "threads": "1"}
        self._one_by_one = all(spec.shape[:1] == (None,) for spec in (*inputs, *outputs))
        self._interpreter, self._keeps_state, self._file_byte = interpreter, keeps_state, file_byte

    def run(self, feeds: Feeds) -> Outputs:
        """Run each sample once; variable tensors are reset before each."""
        return self._run(feeds, reset=self._keeps_state)

    def proceed(self, feeds: Feeds) -> Outputs:
        """Run each sample once without a reset of the variable tensors."""
        return self._run(feeds, reset=False)

    def footprint(self) -> Footprint:
        """Tensor arena as the allocator recorded it; the file, which lies in flash as it is."""
        with _captured() as lines:
            self._interpreter.print_allocations()
        total = _TOTAL.search(text := "\n".join(lines))
        if total is None:
            raise BackendError("TFLM does not tell the size of its arena", raw=text)
        return Footprint(int(total[1]), self._file_byte)

    def _run(self, feeds: Feeds, *, reset: bool) -> Outputs:
        if self._interpreter is None:
            raise BackendError("the session is closed")
        check_feeds(feeds, self.inputs)
        if not self._one_by_one:
            return self._call([feeds[spec.name] for spec in self.inputs], reset=reset)
        counts = {len(array) for array in feeds.values()}
        if len(counts) != 1 or 0 in counts:
            raise BackendError(f"each input has a row a sample, not {sorted(counts)} rows")
        answers = [
            self._call([feeds[spec.name][row : row + 1] for spec in self.inputs], reset=reset)
            for row in range(counts.pop())
        ]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    def _call(self, arrays: Sequence[NDArray[Any]], *, reset: bool) -> Outputs:
        interpreter = self._interpreter
        try:
            if reset:
                interpreter.reset()
            for place, array in enumerate(arrays):
                interpreter.set_input(np.ascontiguousarray(array), place)
            interpreter.invoke()
            return {spec.name: interpreter.get_output(place) for place, spec in enumerate(self.outputs)}
        except Exception as error:
            raise refusal(error, "TFLM failed to run the model") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._interpreter = None


class TflmBackend:
    """Opens TFLite files with the interpreter for microcontrollers."""

    name = "tflm"
    formats: tuple[str, ...] = ("tflite",)
    stands_in_for = "a microcontroller"

    def probe(self) -> Availability:
        """Return the version of the wheel."""
        try:
            _runtime()
            return Availability(version("tflite-micro"), (PROVIDER,))
        except Exception as error:  # noqa: BLE001 - whatever it raises is the reason why it cannot be used
            return absent(error, install("tflm"))

    def open(self, artifact: Artifact, options: Options) -> Session:
        """Open in an arena of ``arena_byte``, or in one that is large enough."""
        with opening("TFLM", install("tflm"), artifact, self.formats):
            runtime = _runtime()
            arena_byte = _arena_byte(options)
            facts = read_tflite(artifact.path)
            refuse_resources(facts, artifact.path)
            content = artifact.path.read_bytes()
            graph = _checked(runtime.schema_fb, content)
            interpreter = _interpreter(runtime, content, artifact.path, arena_byte)
            session = TflmSession(
                interpreter,
                *_specs(graph, interpreter, is_fixed=facts.keeps_state),
                keeps_state=facts.keeps_state,
                file_byte=len(content),
            )
            confirm(options, session.effective)
            return session


def _runtime() -> ModuleType:
    from tflite_micro.python.tflite_micro import runtime

    module: ModuleType = runtime
    return module


def _arena_byte(options: Options) -> int | None:
    """Read the one option that there is."""
    given = dict(options.extra)
    text = given.pop(ARENA, None)
    if given or (text is not None and not (text.isascii() and text.isdigit() and int(text))):
        wrong = ", ".join(f"{key}={value}" for key, value in options.extra.items())
        raise BackendError(f"TFLM has no option {wrong}", next_step=f"{ARENA}, a number of bytes")
    return None if text is None else int(text)


def _interpreter(runtime: ModuleType, content: bytes, path: Path, arena_byte: int | None) -> Any:  # noqa: ANN401
    """Allocate the tensors of a file, in an arena that grows unless it is given."""
    size = arena_byte or FIRST_ARENA_BYTE
    while True:
        refused = ""
        with _captured() as lines:
            try:
                return runtime.Interpreter.from_bytes(content, arena_size=size)
            except RuntimeError as error:
                refused = str(error)
        why = "\n".join(lines) or refused
        if _NO_KERNEL.search(why) and (missing := _without_kernel(runtime, content)):
            raise FileRefused(
                f"TFLM has no kernel for {', '.join(missing)}",
                where=str(path),
                next_step="make the model without them; `harness validate` measures it elsewhere",
                raw=why,
            )
        if not _NO_ROOM.search(why) or (arena_byte is None and size >= LARGEST_ARENA_BYTE):
            raise refusal(RuntimeError(why), f"TFLM cannot open {path.name}", str(path), made=FileRefused)
        if arena_byte is not None:
            raise FileRefused(
                f"{path.name} does not fit an arena of {arena_byte:,} bytes",
                where=str(path),
                cause=why.splitlines()[0],
                next_step=f"a larger {ARENA}, or a smaller model",
                raw=why,
            )
        size *= GROWTH


def _without_kernel(runtime: ModuleType, content: bytes) -> list[str]:
    """List the operators of a file for which the wheel has no kernel.

    The interpreter names the first that it lacks. So each is looked up in a file of two operators, of which
    it surely lacks the second: none of them is ever prepared or run.
    """
    schema = runtime.schema_fb
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    absent_code = schema.OperatorCodeT()
    absent_code.builtinCode = (
        schema.BuiltinOperator.DELEGATE
    )  # stands for operators in memory, never in files
    missing = []
    for code in schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0)).operatorCodes:
        name = names.get(max(code.builtinCode, code.deprecatedBuiltinCode), "an unknown operator")
        custom = (code.customCode or b"").decode(errors="replace")
        with _captured() as lines, suppress(RuntimeError):
            runtime.Interpreter.from_bytes(_two_operators(schema, [code, absent_code]))
        if lines and (custom or f"'{name}'") in lines[0]:
            missing.append(custom or name)
    return sorted(set(missing))


def _two_operators(schema: ModuleType, codes: list[Any]) -> bytes:
    model, graph, empty = schema.ModelT(), schema.SubGraphT(), np.array([], np.int32)
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, codes, [graph], [schema.BufferT()]
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [], empty, empty, []
    for place in range(len(codes)):
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = place, empty, empty
        graph.operators.append(operator)
    builder = schema.flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _checked(schema: ModuleType, content: bytes) -> Any:  # noqa: ANN401 - the schema's SubGraph
    """Return the only subgraph; the interpreter does not check that the file is whole.

    Raises
    ------
    Exception
        Whatever numpy or struct raise at data that lie beyond the end of the file.
    """
    model = schema.Model.GetRootAsModel(content, 0)
    for place in range(model.BuffersLength()):
        model.Buffers(place).DataAsNumpy()
    return model.Subgraphs(0)


def _specs(
    graph: Any,  # noqa: ANN401 - the schema's SubGraph
    interpreter: Any,  # noqa: ANN401 - lazily imported
    *,
    is_fixed: bool,
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Describe inputs and outputs; the batch is free where all of them have a free one, and no state."""
    inputs, outputs = (
        [graph.Tensors(int(place)) for place in places]
        for places in (graph.InputsAsNumpy(), graph.OutputsAsNumpy())
    )
    signatures = [np.atleast_1d(tensor.ShapeSignatureAsNumpy()) for tensor in (*inputs, *outputs)]
    is_free = not is_fixed and all(one[0] == -1 and (one[1:] >= 0).all() for one in signatures)
    return (
        tuple(_spec(one, interpreter.get_input_details(i), is_free) for i, one in enumerate(inputs)),
        tuple(_spec(one, interpreter.get_output_details(i), is_free) for i, one in enumerate(outputs)),
    )


def _spec(tensor: Any, details: Mapping[str, Any], is_free: bool) -> TensorSpec:  # noqa: ANN401
    steps = details["quantization_parameters"]
    step = None
    if len(steps["scales"]) == 1:
        step = Quantization(float(steps["scales"][0]), int(steps["zero_points"][0]))
    shape: tuple[int | None, ...] = tuple(map(int, details["shape"]))
    if is_free:
        shape = (None, *shape[1:])
    return TensorSpec(tensor.Name().decode(), shape, np.dtype(details["dtype"]).name, step)


@contextmanager
def _captured() -> Iterator[list[str]]:
    """Give the lines that are written to the standard error, when it ends.

    The runtime says there alone why it refuses a file, and how large its arena is.
    """
    lines: list[str] = []
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(before, 2)
            os.close(before)
            file.seek(0)
            lines += [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
