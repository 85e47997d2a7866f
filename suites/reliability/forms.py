"""The same rows in other arrays and by a bound call: the answers must be those of an ordinary call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.contracts import Bench, SupportsBinding, Unsupported
from harness.core.errors import BackendError
from harness.core.feeding import Feeding
from harness.core.job import Case, Samples
from harness.core.preprocess import Feeds, Outputs
from suites.reliability.beside_runtime import beside_runtime
from suites.reliability.rows import compare, run_all, singles

#: What the rows are called that the forms of arrays, and bound calls, make.
LAYOUT, BOUND = "layout", "bound"
NO_BOUND_CALL = "the session has no bound call"


def strided(x: NDArray[Any]) -> NDArray[Any]:
    """Every second value of a wider array; other values lie between."""
    wide = np.repeat(x, 2, axis=-1)
    wide[..., 1::2] = x[..., ::-1]
    return wide[..., ::2]


def read_only(x: NDArray[Any]) -> NDArray[Any]:
    """An array that nobody may write into."""
    y = x.copy()
    y.flags.writeable = False
    return y


#: An array of a caller may lie in any of these ways; a backend copies it, or refuses it.
FORMS: Mapping[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "every second value of an array": strided,
    "an array in the order of Fortran": np.asfortranarray,
    "a read-only array": read_only,
}


def call_forms(bench: Bench, case: Case) -> Samples:
    """Run the rows in each form.

    Returns
    -------
    Samples
        What `rows.compare` returns, row by row, with the prefixes ``layout_`` and ``bound_``;
        ``layout_tried``: the position of the form in ``forms``. Values: ``forms``; ``refused``, those that
        were not answered, and how; ``bound_na``, why nothing was bound. Where the case asks for it, what
        `beside_runtime` returns.
    """
    with bench.open() as session:
        feeding = bench.feeding(session)
        feeds = singles(bench, case, feeding)
        rows = feeding.size or 1
        base = run_all(session, feeding, feeds, rows)
        parts: list[dict[str, NDArray[Any]]] = []
        forms, refused = [], []
        for name, form in FORMS.items():
            try:
                answers = run_all(session, feeding, [_formed(one, form) for one in feeds], rows)
            except Unsupported:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it raises, it gives no wrong answer
                how = "refused" if isinstance(error, BackendError) else f"raised {type(error).__name__}"
                refused.append(f"{name}: {how}")
                continue
            forms.append(name)
            compared = compare(base, answers)
            parts.append({**compared, "tried": np.full(len(compared["bit_equal"]), len(forms) - 1)})
        arrays = {
            f"{LAYOUT}_{key}": np.concatenate([part[key] for part in parts]) for key in (parts or [{}])[0]
        }
        values: dict[str, Any] = {"forms": forms, "refused": refused}
        if isinstance(session, SupportsBinding):
            bound = _bound(session, feeding, feeds, rows)
            if bound is None:
                values["bound_na"] = "a bound call of this session returns no outputs"
            else:
                arrays |= {f"{BOUND}_{key}": array for key, array in compare(base, bound).items()}
        else:
            values["bound_na"] = NO_BOUND_CALL
        if case.params.get("runtime_rows"):
            beside = beside_runtime(bench, case, session, feeding)
            arrays |= beside.arrays
            values |= beside.values
        numbers = {"outputs": list(base), "precision": session.effective.get("precision", ""), "storage": ""}
        return Samples(arrays, values | numbers)


def _formed(feeds: Feeds, form: Callable[[NDArray[Any]], NDArray[Any]]) -> Feeds:
    return {
        name: form(x) if x.ndim and x.size and x.dtype.kind not in "OUS" else x for name, x in feeds.items()
    }


def _bound(session: SupportsBinding, feeding: Feeding, feeds: list[Feeds], rows: int) -> Outputs | None:
    """The answers of the second call of each row; None where a call returns no outputs."""
    answers = []
    for one in feeds:
        call = session.bind(one)
        call()
        outputs = call()
        if not isinstance(outputs, Mapping):
            return None
        # The next call may write into the memory of these.
        copies = {name: np.array(outputs[name]) for name in outputs}
        answers.append(feeding.answers(copies, rows))
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}
