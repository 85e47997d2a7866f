"""What a device says of its machine and its state, as the host may compute with it and show it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from harness.core.untrusted import MAX_REASON, is_count, is_number, is_text

#: Entries of an object whose entries have one kind each, such as cores by name.
MAX_ENTRIES = 100_000

Check = Callable[[object], bool]


def _texts(value: object) -> bool:
    return isinstance(value, list) and len(value) <= MAX_ENTRIES and all(map(is_text, value))


def mapping_of(check: Check) -> Check:
    """Check that a value is an object of values that each fit."""

    def checked(value: object) -> bool:
        return isinstance(value, dict) and len(value) <= MAX_ENTRIES and all(map(check, value.values()))

    return checked


def _sensor(value: object) -> bool:
    return is_count(value) or is_text(value) or (isinstance(value, dict) and all(map(is_text, value)))


def _ticks(value: object) -> bool:
    return mapping_of(is_count)(value) and isinstance(value, dict) and "steal" in value


#: Facts that the host computes with or shows; each can also be ``{"na": reason}``.
FACTS: Mapping[str, tuple[str, Check]] = {
    **dict.fromkeys(
        ("device", "arch", "system", "kernel", "libc", "python", "numpy", "cpu_model", "byte_order",
         "backend_version"),
        ("text", is_text),
    ),
    **dict.fromkeys(
        ("cpu_count", "cpu_affinity", "memory_byte", "clock_resolution_ns", "memory_available_byte",
         "throttled", "throttle_count"),
        ("a count", is_count),
    ),
    **dict.fromkeys(("cpu_quota", "load_1min"), ("a number", is_number)),
    **dict.fromkeys(("isa", "backend_devices"), ("a list of texts", _texts)),
    **dict.fromkeys(
        ("governor", "frequency_khz", "temperature_millicelsius"), ("texts by name", mapping_of(is_text))
    ),
    "cpu_time": ("counts with steal", _ticks),
    "scheduling": ("counts by name", mapping_of(is_count)),
    "gpu": ("facts by name", mapping_of(_sensor)),
    "gpu_state": ("facts by name", mapping_of(lambda value: _sensor(value) or isinstance(value, dict))),
}  # fmt: skip


def problem(facts: Mapping[str, object]) -> tuple[str, object, str] | None:
    """Return the name of a fact that does not fit, what it is, and what it should be; None if all fit.

    Parameters
    ----------
    facts : mapping
        As ``harness.device.environment`` makes them. Facts that are missing or not listed here fit.
    """
    for name, (wanted, check) in FACTS.items():
        value = facts.get(name, {"na": ""})
        if not (check(value) or _is_na(value)):
            return name, value, wanted
    state = facts.get("gpu_state")
    counters = state.get("throttled_ns", {}) if isinstance(state, dict) else {}
    if not isinstance(counters, dict):
        return "gpu_state.throttled_ns", counters, "counts by name"
    return None


def _is_na(value: object) -> bool:
    return isinstance(value, dict) and list(value) == ["na"] and is_text(value["na"], MAX_REASON)
