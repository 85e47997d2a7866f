"""Inputs without samples: the user names the number that fills each, and the model is run with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from harness.core.artifact import TensorSpec
from harness.core.contracts import Session
from harness.core.errors import UsageError
from harness.core.feeding import filled
from harness.core.preprocess import Feeds, Outputs, Preprocess


def parse(texts: Sequence[str], states: Sequence[str] = ()) -> dict[str, Preprocess]:
    """Read ``NAME=NUMBER`` of constants and ``NAME=OUTPUT`` of states; one entry an input.

    Raises
    ------
    UsageError
        A text is something else.
    """
    steps = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            steps[name] = Preprocess(value=float(number))
        except ValueError:
            name = ""
        if not name:
            raise UsageError(
                f"{text!r} is not NAME=NUMBER", where="--value", next_step="write --value alpha=0.5"
            )
    for text in states:
        name, _, output = text.rpartition("=")
        if not (name and output):
            raise UsageError(
                f"{text!r} is not NAME=OUTPUT", where="--state", next_step="write --state h=h_out"
            )
        start = steps[name].value if name in steps else 0.0
        steps[name] = Preprocess(value=start, state=output)
    return steps


class ConstantSession:
    """A session whose constant inputs are filled at every call.

    Parameters
    ----------
    session : Session
    steps : mapping of input name to Preprocess
        With a ``value``.

    Raises
    ------
    UsageError
        The model has no such input.
    """

    def __init__(self, session: Session, steps: Mapping[str, Preprocess]) -> None:
        names = [spec.name for spec in session.inputs]
        if unknown := [name for name in steps if name not in names]:
            raise UsageError(
                f"the model has no input {unknown[0]!r}", where="--value", cause=f"inputs: {', '.join(names)}"
            )
        outputs = [spec.name for spec in session.outputs]
        if wrong := [step.state for step in steps.values() if step.state and step.state not in outputs]:
            raise UsageError(
                f"the model has no output {wrong[0]!r}",
                where="--state",
                cause=f"outputs: {', '.join(outputs)}",
            )
        self.whole, self.steps = session, steps
        self.inputs: tuple[TensorSpec, ...] = tuple(s for s in session.inputs if s.name not in steps)
        self.outputs, self.effective = session.outputs, session.effective

    def run(self, feeds: Feeds) -> Outputs:
        """Run once; open dimensions of a constant have the size of the batch."""
        sizes = (
            feeds[spec.name].shape[axis]
            for spec in self.inputs
            for axis, size in enumerate(spec.shape)
            if size is None
        )
        rows = next(sizes, 1)
        constants = {
            spec.name: filled(spec, self.steps[spec.name].value or 0.0, rows)
            for spec in self.whole.inputs
            if spec.name in self.steps
        }
        return self.whole.run({**feeds, **constants})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """The session is closed by who opened it."""
