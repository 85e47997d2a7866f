"""The backend's answers beside those of the runtime that it loads, opened by the vendor's own interface."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core import unexpected
from harness.core.artifact import TensorSpec
from harness.core.contracts import BareModel, Bench, Session, Unsupported
from harness.core.feeding import Feeding
from harness.core.job import Case, Samples
from harness.core.preprocess import Feeds, Outputs
from suites.reliability.rows import NONFINITE, compare, one_batch, run_all, with_value

#: What the arrays and values are called that the comparison makes.
RUNTIME = "runtime"


class _Runtime:
    """The runtime's outputs by the names of the backend's."""

    def __init__(self, bare: BareModel, specs: tuple[TensorSpec, ...]) -> None:
        self._bare, self._specs = bare, specs

    def run(self, feeds: Feeds) -> Outputs:
        outputs = self._bare.run(feeds)
        forms = [(getattr(y, "dtype", None), np.ndim(y)) for y in outputs]
        if forms != [(np.dtype(spec.dtype), len(spec.shape)) for spec in self._specs]:
            raise Unsupported("its outputs have other numbers, types or axes than those of the backend")
        return {spec.name: y for spec, y in zip(self._specs, outputs, strict=True)}


def beside_runtime(
    bench: Bench, case: Case, session: Session, feeding: Feeding, feeds: list[Feeds]
) -> Samples:
    """Run rows alone, together and with values that are not finite, in the backend and in the runtime.

    Returns
    -------
    Samples
        ``runtime_equal``, shape (n,), bool: every number of an answer; NaN equals NaN.
        ``runtime_difference``, shape (n,), float64. ``runtime_tried``, shape (n,): the position of what was
        fed in the value ``runtime_ways``. Without a comparison the value ``runtime_na``, why.
    """
    try:
        runtime = _Runtime(bench.open_bare(), session.outputs)
        return _compare(bench, case, (session, runtime), feeding, feeds)
    except Unsupported as error:
        return Samples({}, {f"{RUNTIME}_na": str(error)})
    except Exception as error:  # noqa: BLE001 - a file that the runtime alone does not take is a reason, too
        text = f"the runtime alone cannot run it: {unexpected.one_line(error)}"
        return Samples({}, {f"{RUNTIME}_na": text})


def _compare(
    bench: Bench, case: Case, sessions: tuple[Session, Any], feeding: Feeding, feeds: list[Feeds]
) -> Samples:
    rows = feeding.size or 1
    ways: list[tuple[str, list[Feeds], int]] = [("a row alone", feeds, rows)]
    if not feeding.size:
        ways.append(("all rows at once", [one_batch(bench, case, feeding)], case.samples))
    floats = [name for name, x in feeds[0].items() if x.dtype.kind == "f"]
    for name, value, whole in NONFINITE if floats else ():
        poison = {**feeds[0], **{key: with_value(feeds[0][key], value, whole) for key in floats}}
        ways.append((f"{name.replace('_', ' ')}", [poison], rows))
    tried: list[int] = []
    names: list[str] = []
    parts = []
    for name, batches, count in ways:
        try:
            answers = run_all(sessions[0], feeding, batches, count)
        except Unsupported:
            raise
        except Exception:  # noqa: BLE001, S112 - it refuses what it may refuse, and answers nothing wrongly
            continue
        compared = compare(run_all(sessions[1], feeding, batches, count), answers)
        tried += [len(names)] * len(compared["difference"])
        names.append(name)
        parts.append(compared["difference"])
    difference: NDArray[np.float64] = np.concatenate([np.asarray(part, np.float64) for part in parts])
    return Samples(
        {
            f"{RUNTIME}_equal": difference == 0,
            f"{RUNTIME}_difference": difference,
            f"{RUNTIME}_tried": np.array(tried, np.int64),
        },
        {f"{RUNTIME}_ways": names},
    )
