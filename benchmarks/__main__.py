"""``python -m benchmarks [NAME …]``: what the harness itself costs.

Figures are ratios measured side by side in one run. They are not tests: times vary with the machine's load.
"""

from __future__ import annotations

import importlib
import sys
import time

NAMES = (
    "overhead",
    "throughput",
    "share",
    "ssh",
    "fleet",
    "compression",
    "results",
    "detection",
    "explain_size",
    "explain_causes",
    "tokens",
)


def main() -> None:
    chosen = sys.argv[1:] or NAMES
    if unknown := set(chosen) - set(NAMES):
        sys.exit(f"there is no benchmark {', '.join(sorted(unknown))}; known: {', '.join(NAMES)}")
    start = time.monotonic()
    for name in chosen:
        began = time.monotonic()
        importlib.import_module(f"benchmarks.{name}").report()
        print(f"  {time.monotonic() - began:.0f} s for {name}", flush=True)
    print(f"\n{time.monotonic() - start:.0f} s in total")


if __name__ == "__main__":
    main()
