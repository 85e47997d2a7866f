"""The script of a reproducer: about ten lines that need numpy and one runtime."""

from __future__ import annotations

from dataclasses import dataclass

from harness.core.errors import ModelError
from harness.core.job import Options
from harness.explain.sides.side import Side

_HEAD = '''\
"""{cause}

Needs numpy and {package} alone; made with {package} {made_with} on {target}.
Exits with 1 where the difference is there.
"""
import sys
import numpy as np
{imports}

data = np.load("{tensors}")
feeds = {{name[6:]: data[name] for name in data.files if name.startswith("input:")}}
'''
_TAIL = """\
difference = np.abs(np.asarray(got, np.float64) - data["expected"].astype(np.float64)).max()
print(f"largest difference {{difference:.6g}} with {package}", {version})
print("{largest:.6g} when this was made with {package} {made_with}")
sys.exit(int(difference > {largest:.17g} / 10))
"""
_ONNXRUNTIME = """\
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = {threads}
{entries}session = onnxruntime.InferenceSession("{file}", options, providers=["{provider}"])
got = session.run(None, feeds)[0]
"""
# From a path, OpenVINO reads ONNX with another reader than from memory, as the harness does.
_OPENVINO = """\
core = openvino.Core()
model = core.compile_model(core.read_model(open("{file}", "rb").read(), b""), "{provider}", {config!r})
got = list(model(feeds).to_tuple())[0]
"""
_TFLITE = """\
kernels = OpResolverType.{kernels}
interpreter = Interpreter("{file}", num_threads={threads}, experimental_op_resolver_type=kernels)
for detail in interpreter.get_input_details():
    interpreter.resize_tensor_input(detail["index"], feeds[detail["name"]].shape)
interpreter.allocate_tensors()
for detail in interpreter.get_input_details():
    interpreter.set_tensor(detail["index"], feeds[detail["name"]])
interpreter.invoke()
got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
"""
_TFLM = """\
interpreter = runtime.Interpreter.from_file("{file}", arena_size={arena_byte})
for place, array in enumerate(feeds.values()):
    interpreter.set_input(np.ascontiguousarray(array), place)
interpreter.invoke()
got = interpreter.get_output(0)
"""
_VERSION = "from importlib.metadata import version\n"
#: LiteRT's kernels by the provider of a side.
_KERNELS = {"reference": "BUILTIN_REF", "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES"}
#: Types of options of ONNX Runtime.
_ENUMERATIONS = {"graph_optimization_level": "GraphOptimizationLevel", "execution_mode": "ExecutionMode"}
#: Enough for a part of what fits a microcontroller.
_ARENA_BYTE = 1 << 26


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a script needs.

    Parameters
    ----------
    package : str
        As pip knows it.
    imports : str
        Lines of Python.
    version : str
        Expression for the version that runs.
    """

    package: str
    imports: str
    version: str


#: By the backend that a side runs on.
RUNTIMES = {
    "onnxruntime": Runtime("onnxruntime", "import onnxruntime", "onnxruntime.__version__"),
    "openvino": Runtime("openvino", "import openvino", "openvino.__version__"),
    "tflite": Runtime(
        "ai-edge-litert",
        f"{_VERSION}from ai_edge_litert.interpreter import Interpreter, OpResolverType",
        'version("ai-edge-litert")',
    ),
    "tflm": Runtime(
        "tflite-micro",
        f"{_VERSION}from tflite_micro.python.tflite_micro import runtime",
        'version("tflite-micro")',
    ),
}


def runtime_of(side: Side) -> Runtime:
    """What a script of a side needs.

    Raises
    ------
    ModelError
        There is no script for its backend.
    """
    if side.backend not in RUNTIMES:
        raise ModelError(f"there is no script for the backend {side.backend}")
    return RUNTIMES[side.backend]


def script(side: Side, file: str, tensors: str, cause: str, largest: float, made_with: str) -> str:
    """Write the script of a side.

    Parameters
    ----------
    side : Side
    file, tensors : str
        Names of the file and of the archive beside the script.
    cause : str
    largest : float
        Largest absolute difference.
    made_with : str
        Version of the runtime that gave it.

    Raises
    ------
    ModelError
        There is none for its backend.
    """
    runtime = runtime_of(side)
    words = cause.replace("\\", "/").replace('"', "'")  # within a docstring
    head = _HEAD.format(
        cause=words, package=runtime.package, imports=runtime.imports, tensors=tensors, made_with=made_with,
        target=side.target,
    )  # fmt: skip
    tail = _TAIL.format(
        largest=largest, package=runtime.package, version=runtime.version, made_with=made_with
    )
    return head + _body(side.backend, side.options, file) + tail


def _body(backend: str, options: Options, file: str) -> str:
    """The lines that open the file with the options of a side, and run it."""
    if backend == "onnxruntime":
        return _ONNXRUNTIME.format(
            threads=options.threads or 0, entries="".join(map(_entry, options.extra.items())), file=file,
            provider=options.provider or "CPUExecutionProvider",
        )  # fmt: skip
    if backend == "openvino":
        config = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1"}
        if options.precision:
            config |= {"INFERENCE_PRECISION_HINT": options.precision, "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
        if options.threads:
            config["INFERENCE_NUM_THREADS"] = str(options.threads)
        config |= options.extra
        return _OPENVINO.format(file=file, provider=options.provider or "CPU", config=config)
    if backend == "tflm":
        size = next(iter(options.extra.values()), str(_ARENA_BYTE))  # the one option that it has
        return _TFLM.format(file=file, arena_byte=size)
    return _TFLITE.format(
        file=file, threads=options.threads or 1, kernels=_KERNELS.get(options.provider, "AUTO")
    )


def _entry(option: tuple[str, str]) -> str:
    """The line that sets an option of an ONNX Runtime session: an entry, or a property."""
    key, value = option
    if "." in key:
        return f"options.add_session_config_entry({key!r}, {value!r})\n"
    if key in _ENUMERATIONS:
        return f"options.{key} = onnxruntime.{_ENUMERATIONS[key]}.{value}\n"
    return f"options.{key} = type(options.{key})({int(value) if value.isdigit() else value!r})\n"
