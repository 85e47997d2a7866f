"""Rows of sequences, one after the other, with the state that a model has in them."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.contracts import Session, SupportsState
from harness.core.feeding import Feeding
from harness.core.preprocess import Feeds, Outputs


class InOrder:
    """Runs the rows of sequences one after the other; state is reset where a sequence begins.

    Parameters
    ----------
    session : Session
    feeding : Feeding
    lengths : sequence of int
        Rows of each sequence.
    """

    def __init__(self, session: Session, feeding: Feeding, lengths: Sequence[int]) -> None:
        self._begin = session.run
        self._proceed = session.proceed if isinstance(session, SupportsState) else session.run
        self._feeding, self._lengths = feeding, iter(lengths)
        self._left = 0
        self._carried: Feeds = {}

    def run(self, feeds: Feeds) -> Outputs:
        """Run the next row."""
        if not self._left:
            self._left = next(self._lengths)
            outputs = self._begin(feeds)
        else:
            outputs = self._proceed({**feeds, **self._carried})
        self._left -= 1
        self._carried = self._feeding.carried(outputs)
        return outputs
