"""Wheels of ONNX Runtime under versions that were never released, for a pip without an index.

Each is the runtime that is installed here, under another number, and with a fault. Its numpy is this one too.
"""

from __future__ import annotations

import site
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

#: Runs the installed package as if it stood where the wheel was unpacked.
REAL = """\
from pathlib import Path as _Path
__path__[:] = [{folder!r}]
exec(compile((_Path(__path__[0]) / "__init__.py").read_text(), "onnxruntime", "exec"))
__version__ = {version!r}
"""
CRASH = "import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n"
#: Imports, and dies when it opens a model.
DIES = """
import os, signal
class InferenceSession(InferenceSession):
    def __init__(self, *given, **named):
        os.kill(os.getpid(), signal.SIGSEGV)
"""
#: Every call takes five times as long.
SLOW = """
import time
def _slowly(call):
    def slowed(*given, **named):
        start = time.perf_counter()
        result = call(*given, **named)
        end = time.perf_counter() + 4 * (time.perf_counter() - start)
        while time.perf_counter() < end:
            pass
        return result
    return slowed
for _name in ("run", "run_with_iobinding"):
    setattr(InferenceSession, _name, _slowly(getattr(InferenceSession, _name)))
"""
#: The scores in another order, of every tenth sample.
WRONG = """
def _wrongly(call):
    def wrong(*given, **named):
        outputs = call(*given, **named)
        for output in outputs:
            output[::10] = output[::10, ::-1].copy()
        return outputs
    return wrong
InferenceSession.run = _wrongly(InferenceSession.run)
"""


def plant(folder: Path, faults: dict[str, str]) -> dict[str, str]:
    """Write a wheel a version, and numpy; what pip needs in its environment to find these and no others."""
    folder.mkdir()
    packages = site.getsitepackages()[0]
    _wheel(folder, "numpy", "99.0.0", {"here.pth": f"{packages}\n"})
    spec = find_spec("onnxruntime")
    assert spec is not None
    assert spec.origin is not None
    for version, fault in faults.items():
        real = REAL.format(folder=str(Path(spec.origin).parent), version=version)
        text = fault if fault == CRASH else real + fault
        _wheel(folder, "onnxruntime", version, {"onnxruntime/__init__.py": text})
    return {"PIP_FIND_LINKS": str(folder), "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null"}


def _wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> None:
    info = f"{name}-{version}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file_name},,\n" for file_name in [*files, f"{info}/RECORD"])
    with ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for file_name, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(file_name, text)
