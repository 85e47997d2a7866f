"""Facts of the machine are facts, or say that they are not to be had."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness import environment


def test_static_facts() -> None:
    facts = environment.static_facts()
    assert facts["arch"] == platform.machine()
    assert facts["python"] == platform.python_version()
    assert facts["numpy"] == np.__version__
    assert facts["cpu_count"] == os.cpu_count()
    assert facts["cpu_affinity"] == len(os.sched_getaffinity(0))
    assert set(facts["isa"]) <= set(environment.ISA_FLAGS)
    assert facts["memory_byte"] > 10**8
    assert 0 < facts["clock_resolution_ns"] < 10**6
    assert facts["byte_order"] == sys.byteorder
    json.dumps(facts)


def test_state_facts() -> None:
    facts = environment.state_facts()
    assert facts["load_1min"] >= 0
    assert 0 < facts["memory_available_byte"] <= environment.static_facts()["memory_byte"]
    assert set(facts["cpu_time"]) == {"busy", "idle", "steal"}
    for name in ("governor", "frequency_khz", "temperature_millicelsius"):
        assert isinstance(facts[name], str) or "cannot be read" in facts[name]["na"]
    json.dumps(facts)


def test_what_is_missing_is_named_and_never_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: (_ for _ in ()).throw(OSError("no /proc")))
    for facts in (environment.static_facts(), environment.state_facts()):
        for name in ("memory_byte", "memory_available_byte", "cpu_model", "cpu_time", "governor"):
            if name in facts:
                assert set(facts[name]) == {"na"}, name
    assert environment.static_facts()["isa"] == []


def test_peak_memory_grows_with_what_is_touched() -> None:
    # In a process of its own: this one may have had more once.
    script = """
import numpy as np
from harness.environment import peak_memory_byte
before = peak_memory_byte()
block = np.ones(2**26, np.uint8)
print(peak_memory_byte() - before)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert 0.9 * 2**26 < int(run.stdout) < 1.5 * 2**26
