"""Claims of a session against facts: confirmed, contradicted, or unconfirmed with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.core.cause import Cause
from harness.core.job import Status
from harness.core.measurement import Measurement
from harness.core.target import CUDA, NVIDIA, TENSORRT
from suites.reliability.rounding import BITS

#: What the name of a mapped library begins with or contains, one of them at least.
LIBRARIES: Mapping[str, tuple[str, ...]] = {
    "CPUExecutionProvider": ("onnxruntime_pybind11_state", "libonnxruntime.so"),
    CUDA: ("onnxruntime_providers_cuda",),
    TENSORRT: ("onnxruntime_providers_tensorrt",),
    "DnnlExecutionProvider": ("onnxruntime_providers_dnnl",),
    "MIGraphXExecutionProvider": ("onnxruntime_providers_migraphx",),
    "OpenVINOExecutionProvider": ("onnxruntime_providers_openvino",),
    "ROCMExecutionProvider": ("onnxruntime_providers_rocm",),
    "CPU": ("openvino_intel_cpu_plugin", "openvino_arm_cpu_plugin"),
    "GPU": ("openvino_intel_gpu_plugin",),
    "NPU": ("openvino_intel_npu_plugin",),
}
#: A thread computes when it used this share of the CPU time of all calls. The caller's time is also that of
#: Python, and that of threads that ended is what other clocks leave: these compute with a larger share.
COMPUTES, SURELY_COMPUTES = 0.05, 0.25
#: Formats to which the rounding of inputs shows, by the change of inputs that is lost.
SHORT: Mapping[str, tuple[str, ...]] = {"beyond f16": ("f16", "tf32", "bf16"), "beyond bf16": ("bf16",)}

#: 1 confirmed, 0 contradicted, None unconfirmed; and what tells it.
Finding = tuple[float | None, str]


def rows(effective: Mapping[str, str], claims: Mapping[str, Any], integers: str) -> list[Measurement]:
    """Make the rows ``provider_confirmed`` and of all other claims, and where nodes ran.

    Parameters
    ----------
    effective : mapping
        What the session says.
    claims : mapping
        What `suites.reliability.claims` collected.
    integers : str
        ``int8`` or ``int16`` where the file computes in integers.
    """
    claimed, placement = effective.get("provider", ""), claims.get("placement")
    by_libraries = provider(claimed, claims["libraries"], claims["gpu"])
    findings = {
        "provider": _planned(claimed, placement) if by_libraries[0] is None and placement else by_libraries,
        **({"version": version(**claims["version"])} if "version" in claims else {}),  # new in this version
        "threads": threads(effective.get("threads", ""), effective.get("provider", ""), claims["threads"]),
        "precision": precision(effective.get("precision", ""), claims["precision"], integers),
    }
    return [
        *(_row(f"{what}_confirmed", *finding) for what, finding in findings.items()),
        *_placed(claimed, placement),
    ]


def _planned(claimed: str, placement: Mapping[str, Sequence[int]]) -> Finding:
    """Compare a provider with where the runtime's own plan has the nodes."""
    total, here = sum(counts[0] for counts in placement.values()), placement.get(claimed, (0, 0))[0]
    text = f"the runtime's plan has {here} of {total} nodes on {claimed or 'it'}"
    return (1.0 if here else 0.0), text if here else f"{claimed} is claimed, and {text}"


def _placed(claimed: str, placement: Mapping[str, Sequence[int]] | None) -> list[Measurement]:
    """The share of nodes, and of their time, that the profile places on the provider."""
    metrics = ("nodes_on_provider", "time_on_provider")
    if placement is None:
        return [_row(metric, None, "the runtime does not tell where nodes run") for metric in metrics]
    totals = np.array([*placement.values()], np.float64).reshape(-1, 2).sum(axis=0)
    here = np.array(placement.get(claimed, (0, 0)), np.float64)
    places = ", ".join(
        f"{count} {'node' if count == 1 else 'nodes'} on {provider}"
        for provider, (count, _) in sorted(placement.items())
    )
    return [
        Measurement(metric, "1", float(part / total), n=int(totals[0]), reason=places)
        if total
        else _row(metric, None, "the runtime does not tell the time of its nodes")
        for metric, part, total in zip(metrics, here, totals, strict=True)
    ]


def _row(metric: str, value: float | None, text: str) -> Measurement:
    if value is None:
        return Measurement(
            metric, "1", float("nan"), status=Status.SKIPPED, reason=f"unconfirmed: {text}",
            cause=Cause.MISSING_ABILITY,
        )  # fmt: skip
    return Measurement(metric, "1", value, n=1, reason=text)


def provider(claimed: str, libraries: Any, gpu: Mapping[str, Any] | None) -> Finding:  # noqa: ANN401 - JSON
    """Compare a provider with the libraries in the process, and with NVIDIA's driver."""
    stems = LIBRARIES.get(claimed) or LIBRARIES.get(claimed.partition(".")[0])
    if isinstance(libraries, Mapping):
        mapped = None
    else:
        mapped = next((name for stem in stems or () for name in libraries if stem in name), "")
    if gpu is not None:
        return _gpu(claimed, mapped, gpu)
    if stems is None:
        return None, f"nothing outside the runtime tells whether it uses {claimed or 'a provider'}"
    if mapped is None:
        return None, str(libraries["na"])
    if not mapped:
        return 0.0, f"{claimed} is claimed, and no library of it ({stems[0]}) is in the process"
    return 1.0, f"{mapped} is in the process"


def version(reported: str, installed: Mapping[str, str], of_backend: Mapping[str, str]) -> Finding:
    """Compare a version with those of installed distributions.

    Parameters
    ----------
    reported : str
        By the backend.
    installed : mapping of str to str
        Version by distribution: those beside the runtime's libraries in the process.
    of_backend : mapping of str to str
        The same of the distribution that has the backend, where that is not the harness.
    """
    alike = [
        f"{name} {number}"
        for name, number in {**installed, **of_backend}.items()
        if reported and (number.startswith(reported) or reported.startswith(number))
    ]
    if alike:
        return 1.0, f"{alike[0]} is installed"
    if not installed:
        return None, "no distribution is installed beside the libraries in the process"
    names = ", ".join(f"{name} {number}" for name, number in installed.items())
    return 0.0, f"version {reported or 'none'} is claimed, and the library in the process is of {names}"


def _gpu(claimed: str, mapped: str | None, gpu: Mapping[str, Any]) -> Finding:
    if gpu["missing"]:
        return 0.0, f"{claimed} is claimed on a machine without a GPU: {gpu['missing']}"
    memory = gpu["memory_byte"]
    if isinstance(memory, int):
        holds = f"the driver counts {memory / 1e6:.3g} MB of GPU memory of this process"
        return (1.0 if memory else 0.0), f"{claimed} is claimed, and {holds}" if not memory else holds
    if gpu["files"]:
        return 1.0, f"the process holds {', '.join(gpu['files'])}"
    if mapped == "":
        return 0.0, f"{claimed} is claimed, and no library of it is in the process"
    return None, str(memory["na"])


def threads(claimed: str, provider_name: str, shares: Any) -> Finding:  # noqa: ANN401 - JSON
    """Compare a number of threads with those that used CPU time."""
    if not claimed.isdecimal():
        return None, "the session tells no number of threads"
    if provider_name in NVIDIA:
        return None, "a GPU computes"
    if isinstance(shares, Mapping):
        return None, str(shares["na"])
    count = computing(shares)
    text = f"{count} of its threads used CPU time, {claimed} claimed"
    if count > int(claimed):
        return 0.0, text
    if count < int(claimed):
        return None, f"{text}; so small a model may not be shared out"
    return 1.0, text


def computing(shares: Sequence[float]) -> int:
    """Number of threads that compute, of their shares in the order of `claims.cpu_shares`."""
    caller, ended, *others = shares
    least = SURELY_COMPUTES if max((ended, *others)) > caller else COMPUTES
    return (caller >= least) + (ended >= SURELY_COMPUTES) + sum(share >= COMPUTES for share in others)


def precision(claimed: str, facts: Mapping[str, Any], integers: str) -> Finding:
    """Compare a precision with the numbers."""
    if integers:
        return None, f"the answers of {integers} layers are steps, which tell no float precision"
    if facts["half_file"]:
        return None, "the file has weights of 16 bits, so its answers may be that short"
    claimed, answers, changed = claimed.casefold(), facts["answers"], facts["changed"]
    if claimed == "f32":
        return _full(answers, changed)
    if claimed not in BITS:
        return None, f"no probe tells the precision {claimed or 'that is not reported'}"
    lost = _lost(changed)
    if claimed in (answers, *(lost[0] if lost else ())):
        return 1.0, f"its numbers are rounded to {claimed}"
    return None, f"nothing shows that numbers are rounded to {claimed}"


def _full(answers: str, changed: Mapping[str, float]) -> Finding:
    lost = _lost(changed)
    if answers:
        return 0.0, f"f32 is claimed, and every answer is a {answers} number"
    if lost:
        return 0.0, f"f32 is claimed, and inputs are rounded: a change by 2^-{lost[1]} changes no answer"
    if changed and changed["beyond f16"] > 0:
        return 1.0, "a change of the inputs by 2^-13 of their values changes answers"
    return None, "the answers do not follow the inputs closely enough to tell"


def _lost(changed: Mapping[str, float]) -> tuple[tuple[str, ...], int] | None:
    """The formats that explain which changes of the inputs change no answer; None where none is lost."""
    if not changed or changed["coarse"] < 1:
        return None
    if changed["beyond bf16"] == 0:
        return SHORT["beyond bf16"], 10
    return (SHORT["beyond f16"], 13) if changed["beyond f16"] == 0 else None
