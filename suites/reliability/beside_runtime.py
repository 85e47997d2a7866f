"""The backend's answers beside those of the runtime that it loads, opened by the vendor's own interface."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core import unexpected
from harness.core.artifact import TensorSpec
from harness.core.contracts import BareModel, Bench, Session, Unsupported
from harness.core.feeding import Feeding
from harness.core.job import Case, Samples
from harness.core.preprocess import Feeds, Outputs
from suites.reliability.rows import NONFINITE, compare, one_batch, run_all, singles, with_value

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


def beside_runtime(bench: Bench, case: Case, session: Session, feeding: Feeding) -> Samples:
    """Run rows alone, together and with values that are not finite, in the backend and in the runtime.

    ``runtime_rows`` rows run alone, as far as ``seconds`` goes, but those of the case at least.

    Returns
    -------
    Samples
        ``runtime_equal``, shape (n,), bool: every number of an answer; NaN equals NaN.
        ``runtime_difference``, shape (n,), float64. ``runtime_tried``, shape (n,): the position of what was
        fed in the value ``runtime_ways``. Without a comparison the value ``runtime_na``, why.
    """
    try:
        runtime = _Runtime(bench.open_bare(), session.outputs)
        return _compare(bench, case, (session, runtime), feeding)
    except Unsupported as error:
        return Samples({}, {f"{RUNTIME}_na": str(error)})
    except Exception as error:  # noqa: BLE001 - a file that the runtime alone does not take is a reason, too
        text = f"the runtime alone cannot run it: {unexpected.one_line(error)}"
        return Samples({}, {f"{RUNTIME}_na": text})


def _compare(bench: Bench, case: Case, sessions: tuple[Session, Any], feeding: Feeding) -> Samples:
    names: list[str] = []
    tried: list[int] = []
    differences: list[NDArray[np.float64]] = []
    for name, feeds, rows in _ways(bench, case, feeding):
        try:
            answers = run_all(sessions[0], feeding, [feeds], rows)
        except Unsupported:
            raise
        except Exception:  # noqa: BLE001, S112 - it refuses what it may refuse, and answers nothing wrongly
            continue
        compared = compare(run_all(sessions[1], feeding, [feeds], rows), answers)
        if name not in names:
            names.append(name)
        tried += [names.index(name)] * rows
        differences.append(np.asarray(compared["difference"], np.float64))
    difference = np.concatenate(differences)
    return Samples(
        {
            f"{RUNTIME}_equal": difference == 0,
            f"{RUNTIME}_difference": difference,
            f"{RUNTIME}_tried": np.array(tried, np.int64),
        },
        {f"{RUNTIME}_ways": names},
    )


def _ways(bench: Bench, case: Case, feeding: Feeding) -> Iterator[tuple[str, Feeds, int]]:
    """Yield what is fed, its name, and how many rows it has."""
    rows = feeding.size or 1
    first = singles(bench, case, feeding)[0]
    if not feeding.size:
        yield "all rows at once", one_batch(bench, case, feeding), case.samples
    floats = [name for name, x in first.items() if x.dtype.kind == "f"]
    for name, value, whole in NONFINITE if floats else ():
        poison = {**first, **{key: with_value(first[key], value, whole) for key in floats}}
        yield name.replace("_", " "), poison, rows
    start_ns = bench.clock()
    for start in range(0, case.params["runtime_rows"], rows):
        if start >= case.samples and bench.clock() - start_ns > case.params["seconds"] * 1e9:
            return
        end = min(start + rows, case.params["runtime_rows"])
        canonical = bench.data.feeds(case.data, start, end)
        fed = {name: x[np.arange(rows) % len(x)] for name, x in canonical.items()}
        yield "a row alone", feeding.feeds(fed), rows
