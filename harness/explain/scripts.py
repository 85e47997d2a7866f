"""The script of a reproducer: about ten lines that need numpy and one runtime."""

from __future__ import annotations

from harness.core.errors import ModelError
from harness.device.bare import KINDS, runtime_of
from harness.explain.sides import Side

_HEAD = '''\
"""{cause}

Needs numpy and {package} alone; made with {backend} on {target}. Exits with 1 where the difference is there.
"""
import sys
import numpy as np
{imports}

data = np.load("{tensors}")
feeds = {{name[6:]: data[name] for name in data.files if name.startswith("input:")}}
'''
_TAIL = """\
difference = np.abs(np.asarray(got, np.float64) - data["expected"].astype(np.float64)).max()
print(f"largest difference {{difference:.6g}}; {largest:.6g} when this was made; {package}", {version})
sys.exit(int(difference > {largest:.17g} / 10))
"""
_ONNXRUNTIME = """\
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = {threads}
{entries}session = onnxruntime.InferenceSession("{file}", options, providers=["{provider}"])
got = session.run(None, feeds)[0]
"""
_OPENVINO = """\
core = openvino.Core()
model = core.compile_model(core.read_model("{file}"), "{provider}", {config!r})
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
#: By the runtime: its package, what is imported, and how it tells its version.
_IMPORTS = {
    "onnxruntime": ("onnxruntime", "import onnxruntime", "onnxruntime.__version__"),
    "openvino": ("openvino", "import openvino", "openvino.__version__"),
    "tflite": (
        "ai-edge-litert",
        "from importlib.metadata import version\n"
        "from ai_edge_litert.interpreter import Interpreter, OpResolverType",
        'version("ai-edge-litert")',
    ),
}
#: LiteRT's kernels by the provider of a side.
_KERNELS = {"reference": "BUILTIN_REF", "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES"}


def script(side: Side, file: str, tensors: str, cause: str, largest: float) -> str:
    """Write the script of a side.

    Raises
    ------
    ModelError
        There is none for its runtime.
    """
    if side.backend not in KINDS:
        raise ModelError(f"there is no script for the backend {side.backend}")
    runtime = runtime_of(side.backend, side.artifact.format, ())
    package, imports, version = _IMPORTS[runtime]
    options = side.options
    if runtime == "onnxruntime":
        entries = "".join(
            f"options.add_session_config_entry({key!r}, {value!r})\n"
            for key, value in options.extra.items()
            if "." in key
        )
        body = _ONNXRUNTIME.format(
            threads=options.threads or 0, entries=entries, file=file,
            provider=options.provider or "CPUExecutionProvider",
        )  # fmt: skip
    elif runtime == "openvino":
        config = {**options.extra}
        if options.precision:
            config["INFERENCE_PRECISION_HINT"] = options.precision
        if options.threads:
            config["INFERENCE_NUM_THREADS"] = str(options.threads)
        body = _OPENVINO.format(file=file, provider=options.provider or "CPU", config=config)
    else:
        body = _TFLITE.format(
            file=file, threads=options.threads or 1, kernels=_KERNELS.get(options.provider, "AUTO")
        )
    head = _HEAD.format(
        cause=cause, package=package, imports=imports, tensors=tensors, backend=side.backend,
        target=side.target,
    )  # fmt: skip
    return head + body + _TAIL.format(largest=largest, package=package, version=version)
