"""The least ``run.json`` that a run is judged with."""

from __future__ import annotations

from typing import Any

RUN: dict[str, Any] = {
    "run_id": "run", "validation": {}, "validation_path": "/m/validation.toml", "emulated": [], "data": {},
    "model": {"name": "m", "task": "classification", "sha256": "0" * 64}, "suites": ["accuracy"],
    "variants": ["float32"], "targets": {"cpu": {"backends": ["null"]}},
}  # fmt: skip
