"""Full texts behind short reasons, one file each in the run's folder: refusals of runtimes, tracebacks."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from harness.core.cause import Cause
from harness.core.job import JobResult
from harness.core.untrusted import encodable
from harness.store.cache import write_atomically, writing

FOLDER = "messages"


def write(folder: Path, results: Iterable[JobResult]) -> list[Path]:
    """Write each text once and return the files, in the order of the results.

    Parameters
    ----------
    folder : Path
        Of the run; the files are ``TARGET/messages/BACKEND-HASH.txt``, of an exception
        ``traceback-HASH.txt``.
    results : iterable of JobResult
    """
    texts: dict[Path, str] = {}
    jobs: dict[Path, list[str]] = {}
    for result in results:
        if result.raw:
            key = result.key
            about = "traceback" if result.cause is Cause.UNEXPECTED else key.backend
            name = f"{about}-{sha256(encodable(result.raw).encode()).hexdigest()[:8]}.txt"
            path = folder / key.target / FOLDER / name
            texts[path] = result.raw
            jobs.setdefault(path, []).append(f"{key.variant} {key.suite} {key.case} {key.severity}")
    with writing(folder):
        for path, text in texts.items():
            write_atomically(path, encodable("\n".join([*jobs[path], "", text, ""])).encode())
    return list(texts)
