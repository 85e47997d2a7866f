"""What belongs to the whole process, and a backend has to leave as it was: a program uses it besides.

Each fact is read before the model is opened and after it was closed; the backend is asked for none of them.
"""

from __future__ import annotations

import gc
import locale
import os
import random
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

State = Mapping[str, str]

#: Variables that runtimes and their allocators set for themselves, and nobody else reads.
OF_RUNTIMES = ("KMP_", "TF_CPP_", "TF2_", "TF_ENABLE", "ONEDNN_", "TBB_", "OV_", "ORT_", "MALLOC_")
#: More on standard output is cut in the message.
MOST_TEXT = 80


def read() -> State:
    """Read the state of this process, in text; what this system does not have is left out."""
    state: dict[str, str] = {}
    for name, fact in FACTS.items():
        try:
            state[name] = str(fact())
        except (AttributeError, OSError, ValueError):  # not on this system
            continue
    return {**state, **_environment()}


def changes(before: State, after: State) -> list[str]:
    """Say what is another value than before."""
    names = [*before, *(name for name in after if name not in before)]
    return [
        f"{name} is {_short(after[name])}, was {_short(before[name])}"
        if name in before and name in after
        else f"{name} was {'set' if name in after else 'deleted'}"
        for name in names
        if before.get(name) != after.get(name)
    ]


@contextmanager
def standard_output() -> Iterator[list[str]]:
    """Yield a list which, afterwards, has the text that was written to standard output meanwhile, if any.

    Descriptor 1 is taken, so that text of a library of C counts too; the results take another one.
    """
    written: list[str] = []
    sys.stdout.flush()
    saved = os.dup(1)
    with tempfile.TemporaryFile() as stream:
        os.dup2(stream.fileno(), 1)
        try:
            yield written
        finally:
            try:
                sys.stdout.flush()
            except (OSError, ValueError):
                written.append("standard output was closed")
            if not _is_the_same(1, stream.fileno()):
                written.append("descriptor 1 was closed or replaced")
            os.dup2(saved, 1)
            os.close(saved)
            stream.seek(0)
            if text := stream.read(MOST_TEXT).decode(errors="replace").strip():
                written.append(f"standard output got {text.splitlines()[0]!r}")


def _is_the_same(descriptor: int, other: int) -> bool:
    try:
        return os.path.sameopenfile(descriptor, other)
    except OSError:
        return False


def _environment() -> dict[str, str]:
    return {
        f"the environment variable {name}": value
        for name, value in os.environ.items()
        if not name.startswith(OF_RUNTIMES)
    }


def _handlers() -> str:
    """Handlers of Python and of C: faulthandler's own are there before."""
    return ", ".join(
        f"{one.name} {getattr(handler, '__qualname__', handler)}"
        for one in sorted(signal.valid_signals())
        if isinstance(one, signal.Signals)
        and (handler := signal.getsignal(one)) not in (signal.SIG_DFL, None)
    )


def _kernel_handlers() -> str:
    """Signals that the process ignores or catches, as the kernel has them: libraries of C set them too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return " ".join(line.replace("\t", " ") for line in lines if line.startswith(("SigIgn", "SigCgt")))


def _rounding() -> str:
    """The rounding mode, by two sums that lie halfway: numpy adds in the processor's mode."""
    one, small = np.array([1.0, -1.0]), np.array([2.0**-53, -(2.0**-53)])
    up = (one + 3 * small / 2) != one
    half = (one + small) != one
    return f"nearest={bool(up.all() and not half.any())}"


def _subnormal() -> str:
    tiny = np.array([1e-39], np.float32)
    return f"kept={bool((tiny * np.float32(0.5))[0] != 0)}"


def _umask() -> str:
    mask = os.umask(0)
    os.umask(mask)
    return f"{mask:03o}"


def _limits() -> str:
    import resource

    kinds = ("RLIMIT_NOFILE", "RLIMIT_AS", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_DATA")
    return str([resource.getrlimit(getattr(resource, kind))[0] for kind in kinds])


def _cpus() -> str:
    return str(sorted(os.sched_getaffinity(0)))


def _numpy_random() -> str:
    state: Any = np.random.get_state(legacy=False)
    return f"{hash(state['state']['key'].tobytes())} {state['state']['pos']}"


FACTS: Mapping[str, Callable[[], object]] = {
    "the working folder": os.getcwd,
    "the handlers of signals": _handlers,
    "the signals that are handled": _kernel_handlers,
    "the timer of SIGALRM": lambda: signal.getitimer(signal.ITIMER_REAL)[0] > 0,
    "the rounding mode of floats": _rounding,
    "the treatment of subnormal floats": _subnormal,
    **{
        f"the locale of {what}": partial(locale.setlocale, category)
        for what, category in (
            ("numbers", locale.LC_NUMERIC),
            ("characters", locale.LC_CTYPE),
            ("times", locale.LC_TIME),
            ("sorting", locale.LC_COLLATE),
        )
    },
    "numpy's treatment of float errors": np.geterr,
    "numpy's print options": lambda: {k: v for k, v in np.get_printoptions().items() if k != "formatter"},
    "the state of numpy's random numbers": _numpy_random,
    "the state of Python's random numbers": lambda: hash(random.getstate()),
    "the CPUs that the process may use": _cpus,
    "the priority of the process": lambda: os.getpriority(os.PRIO_PROCESS, 0),
    "the mask of new files": _umask,
    "the limits of resources": _limits,
    "the garbage collector": lambda: f"on={gc.isenabled()}",
    "the interval of switching threads": sys.getswitchinterval,
    "the recursion limit": sys.getrecursionlimit,
    "the filters of warnings": lambda: [entry[0] for entry in warnings.filters if entry[0] == "error"],
}


def _short(value: str) -> str:
    return value if len(value) <= MOST_TEXT else value[:MOST_TEXT] + "…"
