"""``python -m tests.fuzz [NAME…]``: look for content that crashes a reader, guided by coverage (atheris).

Inputs that fail are stored in ``corpus/NAME/``, which the tests read each time.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
#: One input may take so long, and so much memory.
TIMEOUT_S, MEMORY_MB = 20, 2048
MAX_LENGTH = 8192


def fuzz(name: str, seconds: int) -> None:
    """Fuzz one reader in this process, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=["harness"]):
        from tests.fuzz.readers import READERS
    reader = READERS[name]
    corpus = CORPUS / name
    corpus.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="harness-fuzz-") as temporary:
        grown, folder, words = (Path(temporary) / part for part in ("corpus", "files", "words"))
        grown.mkdir()
        folder.mkdir()
        for number, seed in enumerate(reader.seeds):
            (grown / f"seed-{number}").write_bytes(seed)
        lines = ("".join(f"\\x{byte:02x}" for byte in word) for word in reader.words)
        words.write_text("".join(f'"{line}"\n' for line in lines))

        dictionary = [f"-dict={words}"] if reader.words else []

        def one(content: bytes) -> None:
            reader.is_safe(content, folder)

        atheris.Setup(
            [
                sys.argv[0], str(grown), str(corpus), f"-max_total_time={seconds}", *dictionary,
                f"-timeout={TIMEOUT_S}", f"-rss_limit_mb={MEMORY_MB}", f"-max_len={MAX_LENGTH}",
                f"-artifact_prefix={corpus}/", "-print_final_stats=1", "-verbosity=0",
            ],
            one,
        )  # fmt: skip
        atheris.Fuzz()


def main() -> int:
    """Fuzz the readers one after the other, each in a process of its own."""
    from tests.fuzz.readers import READERS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(READERS)}; default: all")
    parser.add_argument("--seconds", type=int, default=300, help="for all of them together (default: 300)")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    names = arguments.names or list(READERS)
    if unknown := set(names) - set(READERS):
        parser.error(f"there is no reader {', '.join(sorted(unknown))}")
    if arguments.one:
        fuzz(names[0], arguments.seconds)
        return 0
    share = max(1, arguments.seconds // len(names))
    failed = []
    for name in names:
        command = [sys.executable, "-m", "tests.fuzz", name, "--one", "--seconds", str(share)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        runs = [line.split()[-1] for line in done.stderr.splitlines() if "number_of_executed_units" in line]
        print(
            f"{name:18} {runs[0] if runs else '?'} inputs, {'FAULT' if done.returncode else 'no fault'}",
            flush=True,
        )
        if done.returncode:
            failed.append(name)
            print(done.stderr[-4000:], file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
