"""A start is fast: parsing a command line needs none of the packages that a command may need."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("numpy", "onnx", "onnxruntime", "pandas", "pydantic", "rich", "scipy")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom harness.cli import main\n"
        "try:\n    main.main(['validate', '--help'])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stderr.strip() == "[]"
