"""Options of ONNX Runtime: what is asked of a session and of its provider, and what is in use."""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.core.contracts import Variation
from harness.core.errors import BackendError
from harness.core.job import Options
from harness.core.target import CUDA, TENSORRT

CPU = "CPUExecutionProvider"
#: If it is 1, products of matrices are computed in bfloat16 on ARM.
FASTMATH = "mlas.enable_gemm_fastmath_arm64_bfloat16"
#: If it is 0, NVIDIA's libraries compute float32 in float32 and not in TF32.
TF32_OVERRIDE = "NVIDIA_TF32_OVERRIDE"

#: TensorRT's options that let it compute in less than float32, and the values that enable them.
LOWER_PRECISIONS = {"f16": "trt_fp16_enable", "bf16": "trt_bf16_enable"}
ENABLED = ("1", "True", "true")


#: Session options that decide which numbers come out.
LEVEL, DISABLED, SIGNED = (
    "graph_optimization_level", "optimization.disable_specified_optimizers", "session.x64quantprecision",
)  # fmt: skip
#: Optimizers that replace operators by others, in the order in which they are applied.
OPTIMIZERS = (
    "ConstantFolding", "MatMulAddFusion", "ReshapeFusion", "GemmActivationFusion", "ConvBNFusion",
    "ConvMulFusion", "ConvAddFusion", "ReluQuantRewrite", "QDQSelectorActionTransformer",
    "DynamicQuantizeMatMulFusion",
    "MatMulIntegerToFloatFusion", "LayerNormFusion", "SkipLayerNormFusion", "AttentionFusion",
    "EmbedLayerNormFusion", "GeluFusionL2", "BiasGeluFusion", "FastGeluFusion", "QuickGeluFusion",
    "BiasSoftmaxFusion", "ConvActivationFusion", "ConvAddActivationFusion", "NchwcTransformer",
    "NhwcTransformer", "QDQFinalCleanupTransformer",
)  # fmt: skip


def variations(options: Options) -> tuple[Variation, ...]:
    """List the options with which the CPU provider computes other numbers."""

    def with_extra(
        kind: str, text: str, key: str, value: str, parts: tuple[Variation, ...] = ()
    ) -> Variation:
        changed = replace(options, extra={**options.extra, key: value})
        return Variation(kind, text, changed, f'extra = {{ "{key}" = "{value}" }}', parts)

    listed = []
    if options.extra.get(FASTMATH) == "1":
        listed.append(with_extra("precision", "float32 arithmetic", FASTMATH, "0"))
    if options.extra.get(SIGNED) != "1":
        text = "products of two unsigned bytes, whose sums do not saturate"
        listed.append(with_extra("saturation", text, SIGNED, "1"))
    if options.extra.get(LEVEL) != "ORT_DISABLE_ALL":
        parts = tuple(
            with_extra("graph optimization", f"the graph without {name}", DISABLED, name)
            for name in OPTIMIZERS
        )
        text = "the graph without optimizations"
        listed.append(with_extra("graph optimization", text, LEVEL, "ORT_DISABLE_ALL", parts))
    return tuple(listed)


def session_settings(onnxruntime: ModuleType, provider: str, options: Options) -> tuple[Any, dict[str, str]]:
    """Return session options and provider options; an option that is neither is refused.

    Raises
    ------
    BackendError
    """
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    provider_options: dict[str, str] = {}
    for key, value in options.extra.items():
        if "." in key:
            if not _is_known(onnxruntime, key):
                raise BackendError(f"this ONNX Runtime has no session option {key}")
            settings.add_session_config_entry(key, value)
        elif hasattr(settings, key) and not callable(getattr(settings, key)):
            setattr(settings, key, _value(getattr(settings, key), key, value))
        elif provider != CPU:  # the CPU provider would ignore it; the others refuse unknown options
            provider_options[key] = value
        else:
            raise BackendError(f"ONNX Runtime has no option {key}")
    settings.intra_op_num_threads = options.threads or settings.intra_op_num_threads
    if provider != CPU:
        settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    if provider == CUDA and options.precision:
        provider_options["use_tf32"] = "0"
    if provider == TENSORRT and options.precision == "f32" and os.environ.get(TF32_OVERRIDE) != "0":
        raise BackendError(
            "TensorRT computes float32 in TF32",
            cause="this is its default, and the provider has no option against it",
            next_step=f"set {TF32_OVERRIDE}=0 in the environment of the worker",
        )
    return settings, provider_options


def _value(current: Any, key: str, value: str) -> Any:  # noqa: ANN401 - bool, int, str or one of the runtime's enums
    """Convert an option's text to the type of its current value."""
    if isinstance(current, bool):
        allowed: Mapping[str, Any] = {"0": False, "1": True}
    elif isinstance(current, int | str):
        return type(current)(value)
    else:
        allowed = type(current).__members__
    if value not in allowed:
        raise BackendError(f"{key} is one of {', '.join(allowed)}, not {value}")
    return allowed[value]


def _is_known(onnxruntime: ModuleType, key: str) -> bool:
    """Whether the runtime's binary contains `key`; the runtime ignores unknown keys without a message."""
    binary = Path(onnxruntime.capi.onnxruntime_pybind11_state.__file__)
    with binary.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"\0" + key.encode() + b"\0") >= 0


def precision_in_use(session: Any, provider: str, options: Options) -> str:  # noqa: ANN401 - lazily imported
    """Return how float32 is computed."""
    if provider == CPU:
        bfloat16 = options.extra.get(FASTMATH) == "1"
        return "bf16" if bfloat16 else "f32"
    in_use = session.get_provider_options().get(provider, {})
    if provider == CUDA:
        return "f32" if in_use.get("use_tf32") == "0" else "tf32"
    if provider == TENSORRT:  # it has no option against TF32
        lower = [kind for kind, option in LOWER_PRECISIONS.items() if in_use.get(option) in ENABLED]
        return "+".join(lower) or ("f32" if os.environ.get(TF32_OVERRIDE) == "0" else "tf32")
    return "default"
