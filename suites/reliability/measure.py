"""Tries on the device what must not change an answer, and what must be refused.

Only what may crash is done in a fresh process (`suites.reliability.damage`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from harness.core.artifact import TensorSpec, file_hashes
from harness.core.contracts import Bench, Session, Unsupported
from harness.core.errors import BackendError
from harness.core.job import Case, Samples
from harness.core.preprocess import Feeds
from suites.reliability import damage, forms, invariance, reload, repeat
from suites.reliability.claims import claims
from suites.reliability.deeper import cases as deeper
from suites.reliability.deeper.concurrent import concurrent
from suites.reliability.deeper.surroundings import pressure, surroundings
from suites.reliability.deeper.unusual import unusual_values
from suites.reliability.model_file import operators
from suites.reliability.rows import NONFINITE, digest, singles, with_value
from suites.reliability.soak import soak

#: Operators that take NaN for something else by design, or only compare.
HANDLES_NAN = frozenset({
    "Imputer", "IsInf", "IsNaN", "TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor",
})  # fmt: skip


def measure(bench: Bench, case: Case) -> Iterator[Samples]:
    """Yield what the case found, in one part; a soak yields many."""
    if case.name == "soak":
        yield from soak(bench, case)
    else:
        yield CASES[case.name](bench, case)


def bad_input(bench: Bench, case: Case) -> Samples:
    """Feed what the model does not take; after each mistake, a correct call."""
    outcomes: dict[str, str] = {}
    recovered = []
    with bench.open() as session:
        feeds = singles(bench, case, bench.feeding(session))[0]
        expected = digest(session.run(feeds))
        for kind, wrong in mistakes(feeds, session.inputs):
            outcomes[kind] = _outcome(session, wrong)
            recovered.append(_same(session, feeds, expected))
    return Samples({"recovered": np.array(recovered)}, {"outcomes": outcomes})


def mistakes(feeds: Feeds, specs: tuple[TensorSpec, ...]) -> Iterator[tuple[str, Feeds]]:
    """Yield each mistake that a caller makes, for each input."""
    for spec in specs:
        name = spec.name
        x = feeds[name]
        others = {other: y for other, y in feeds.items() if other != name}
        yield f"{name}: one dimension more", {**feeds, name: x[np.newaxis]}
        fixed = [axis for axis, size in enumerate(spec.shape) if size is not None]
        if fixed:
            longer = np.concatenate([x, x.take([-1], axis=fixed[-1])], axis=fixed[-1])
            yield f"{name}: axis {fixed[-1]} longer by one", {**feeds, name: longer}
        for dtype in ("float64", "uint8"):  # numpy's default, and pixels that nobody scaled
            if x.dtype != dtype:
                yield f"{name}: {dtype}", {**feeds, name: np.zeros(x.shape, dtype)}
        yield f"{name}: misspelt", {**others, f"{name}_": x}
        yield f"{name}: missing", others
        yield f"{name}: one input more", {**feeds, f"{name}_": x}


def nonfinite_input(bench: Bench, case: Case) -> Samples:
    """Feed NaN and infinity (int8 models answer with finite numbers)."""
    outcomes: dict[str, list[str]] = {}
    recovered = []
    with bench.open() as session:
        rows = singles(bench, case, bench.feeding(session))
        floats = [name for name, x in rows[0].items() if np.issubdtype(x.dtype, np.floating)]
        if not floats:
            raise Unsupported("the file takes no float input")
        expected = digest(session.run(rows[0]))
        for kind, value, whole in NONFINITE:
            outcomes[kind] = []
            for feeds in rows:
                poisoned = {**feeds, **{name: with_value(feeds[name], value, whole) for name in floats}}
                outcomes[kind].append(_outcome(session, poisoned))
            recovered.append(_same(session, rows[0], expected))
        as_zero = [_answers_alike(session, feeds, floats) for feeds in rows]
    handled = sorted(operators(bench.artifact) & HANDLES_NAN)
    return Samples(
        {"recovered": np.array(recovered), "as_zero": np.array(as_zero)},
        {"outcomes": outcomes, "handled": handled},
    )


def _answers_alike(session: Session, feeds: Feeds, floats: Sequence[str]) -> bool:
    """Whether inputs of NaN are answered bit for bit like inputs of zeros."""
    answers = []
    for value in (np.nan, 0.0):
        try:
            answers.append(
                digest(session.run({**feeds, **{n: with_value(feeds[n], value, True) for n in floats}}))
            )
        except Exception:  # noqa: BLE001 - it is refused, and so not taken for zero
            return False
    return answers[0] == answers[1]


def _outcome(session: Session, feeds: Feeds) -> str:
    """``refused``, ``nonfinite``, ``finite``, or ``raised …``, an error that is not the backend's own."""
    try:
        outputs = session.run(feeds)
    except BackendError:
        return "refused"
    except Exception as error:  # noqa: BLE001 - what it raises instead of refusing is the finding
        return f"raised {type(error).__name__}"
    floats = [y for y in outputs.values() if np.issubdtype(y.dtype, np.floating)]
    return "finite" if all(np.isfinite(y).all() for y in floats) else "nonfinite"


def _same(session: Session, feeds: Feeds, expected: bytes) -> bool:
    """Whether a correct call still gives the same bytes; a session that no longer runs has not recovered."""
    try:
        return digest(session.run(feeds)) == expected
    except Exception:  # noqa: BLE001 - any error is the same finding: not recovered
        return False


def provenance(bench: Bench, case: Case) -> Samples:
    """Collect what the session says of itself, what proves it, and the hashes of its files at the end."""
    with bench.open() as session:
        effective = dict(session.effective)
        facts = claims(bench, case, session)
    return Samples(values={"effective": effective, "claims": facts, "sha256": file_hashes(bench.artifact)})


CASES: dict[str, Callable[[Bench, Case], Samples]] = {
    "determinism": repeat.determinism,
    "batch_invariance": invariance.batch_invariance,
    "thread_invariance": invariance.thread_invariance,
    "call_forms": forms.call_forms,
    "bad_input": bad_input,
    "nonfinite_input": nonfinite_input,
    "truncated_file": damage.truncated_file,
    "bit_flips": damage.bit_flips,
    "reload": reload.reload,
    "provenance": provenance,
    deeper.CONCURRENT: concurrent,
    deeper.UNUSUAL_VALUES: unusual_values,
    deeper.SURROUNDINGS: surroundings,
    deeper.PRESSURE: pressure,
}
