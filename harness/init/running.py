"""Run a model on samples, as the suites will: in batches, or row by row where samples are sequences."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
from numpy.typing import NDArray

from harness.config.schema import DataTable
from harness.core import preprocess
from harness.core.artifact import Artifact
from harness.core.contracts import Session
from harness.core.feeding import Feeding
from harness.core.in_order import InOrder
from harness.core.preprocess import Preprocess
from harness.data import sequences
from harness.data.datasets import Dataset, stratified_order
from harness.data.metadata import column_name
from harness.init.constants import ConstantSession
from harness.init.readings import Values

BATCH = 32
#: Outputs of a trial that are in memory, about; but those of so many samples in any case.
OUTPUT_BYTE, FEWEST = 2**29, 4


def order_of(data: Dataset, table: DataTable) -> NDArray[np.int64]:
    """Order of samples of which every prefix has nearly the classes of all; sequences stay whole."""
    if table.sequence is None or not len(data):
        return stratified_order(data.labels, data.ids, seed=0)
    index = sequences.index_of(data, column_name(table.sequence), table.path or table.callable)
    return sequences.order_of(index, data.labels, data.ids, seed=0)[0]


def independent_samples(data: Dataset, table: DataTable) -> int:
    """Number of samples, or of sequences, whose rows are not independent of each other."""
    return len(data) if table.sequence is None else len(np.unique(data.metadata[column_name(table.sequence)]))


def most_samples(session: Session, data: Dataset) -> int:
    """Number of samples whose outputs fit in memory; an open extent is the length of the samples."""
    length = max((x.shape[1] for x in data.inputs.values() if x.ndim > 1), default=1)
    numbers = sum(prod(size or length for size in spec.shape[1:]) for spec in session.outputs)
    return max(FEWEST, OUTPUT_BYTE // (4 * max(1, numbers)))


def joined_lengths(*parts: Dataset) -> NDArray[np.int64] | None:
    """The lengths of the documents of several parts; None where they have none."""
    lengths = [part.lengths for part in parts if part.lengths is not None]
    return np.concatenate(lengths) if lengths else None


def outputs_of(
    session: Session, artifact: Artifact, data: Dataset, steps: Mapping[str, Preprocess], table: DataTable
) -> Values:
    """Run the model on samples, in the order of `order_of` where they are sequences.

    Returns
    -------
    dict of output name to ndarray, shape (n, …)
    """
    constants: Mapping[str, Preprocess] = {}
    if isinstance(session, ConstantSession):
        constants, session = session.steps, session.whole
    canonical = {
        name: preprocess.apply(raw, steps.get(name, Preprocess())) for name, raw in data.inputs.items()
    }
    every = {**steps, **constants}
    ordered = {spec.name: every.get(spec.name, Preprocess()) for spec in session.inputs}
    feeding = Feeding(session.inputs, session.outputs, ordered, artifact)
    size, run = feeding.size or BATCH, session.run
    if table.sequence is not None:
        index = sequences.index_of(data, column_name(table.sequence), table.path or table.callable)
        size, run = 1, InOrder(session, feeding, np.bincount(index).tolist()).run
    batches = []
    for start in range(0, len(data), size):
        rows = {name: x[start : start + size] for name, x in canonical.items()}
        batches.append(feeding.answers(run(feeding.feeds(rows)), min(size, len(data) - start)))
    return {spec.name: np.concatenate([batch[spec.name] for batch in batches]) for spec in feeding.outputs}
