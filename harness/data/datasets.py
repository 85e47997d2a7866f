"""Data sets: samples, their sources, and the split into calibration and test samples.

Samples are chosen by hash and not by a random generator, so that the choice is the same on every machine,
with every NumPy version, and for every order of the samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.core.errors import DataError
from harness.data import labels as data_labels
from harness.tasks.host import GivenLabels, HostTask, LabelSet


@dataclass(frozen=True, slots=True)
class Dataset:
    """Samples in their raw dtype, before any normalisation.

    Parameters
    ----------
    inputs : Mapping[str, ndarray]
        Input name → array, shape (n, ...); images are uint8 NHWC.
    labels : ndarray or None, shape (n,) or (n, k)
        int64 class indices or float64 values; None without labels.
    ids : ndarray, shape (n,), int64
        A fixed number of each sample, from which its random seeds are derived.
    class_names : tuple of str
        Names of the classes by index; empty if unknown.
    notes : tuple of str
        What the user should know about how they were read: what was left out or converted.
    metadata : mapping of str to ndarray, shape (n,)
        Columns that describe the samples and are not fed to the model: a site, a time, a sequence.
    files : tuple of Path
        Image file of each sample; empty where the samples are no image files.
    lengths : ndarray, shape (n,), int64, optional
        Tokens of each sample, where samples are documents: behind them its arrays are padded.
    """

    inputs: Mapping[str, npt.NDArray[np.generic]]
    labels: npt.NDArray[np.generic] | None
    ids: npt.NDArray[np.int64]
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    lengths: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, positions: npt.NDArray[np.int64]) -> Dataset:
        """Return the samples at ``positions``, in that order, with their ids."""
        return replace(
            self,
            inputs={name: array[positions] for name, array in self.inputs.items()},
            labels=None if self.labels is None else self.labels[positions],
            ids=self.ids[positions],
            metadata={name: values[positions] for name, values in self.metadata.items()},
            files=tuple(self.files[position] for position in positions) if self.files else (),
            lengths=None if self.lengths is None else self.lengths[positions],
        )

    def column(self, name: str, where: str) -> npt.NDArray[np.generic]:
        """Return the column of that name; raises ``DataError`` where the data do not have it."""
        if name not in self.metadata:
            raise DataError(
                f"the data have no column {name!r} that describes the samples",
                where=where,
                cause=f"they have {', '.join(self.metadata)}" if self.metadata else "they have none",
                next_step='return it with the samples: Dataset(…, metadata={"site": sites})',
            )
        return self.metadata[name]


@dataclass(frozen=True, slots=True)
class Split:
    """Calibration samples and test samples; no sample is in both."""

    calibration: Dataset
    test: Dataset

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of both, each once."""
        return tuple(dict.fromkeys((*self.test.notes, *self.calibration.notes)))


def with_labels(
    split: Split,
    host: HostTask,
    n_scores: int | None = None,
    *,
    where: str,
    options: Any = None,  # noqa: ANN401 - of the task
) -> Split:
    """Return the split with labels as a task takes them.

    The labels are checked over calibration and test samples together, so that a message counts over the whole
    source and names the sample by its position there.

    Parameters
    ----------
    host : HostTask
    n_scores : int, optional
        Number of scores of the model: classes must be smaller, and labels as many.
    where : str
        Source of the samples, for errors.
    options : optional
        The table ``[task]``, read by the task.

    Raises
    ------
    DataError
        The labels are something else, or do not fit the model.
    """
    parts = {"calibration": split.calibration, "test": split.test}
    if host.makes_labels:
        return Split(**{name: _made(part, host, n_scores, where, options) for name, part in parts.items()})
    labelled = {name: part for name, part in parts.items() if part.labels is not None}
    groups = [labelled] if _same_source(tuple(labelled.values())) else [{n: p} for n, p in labelled.items()]
    for group in groups:
        ids = np.concatenate([part.ids for part in group.values()])
        order = np.argsort(ids, kind="stable")
        labels = np.concatenate([np.asarray(part.labels) for part in group.values()])[order]
        names = max((part.class_names for part in group.values()), key=len)
        read = host.truth(GivenLabels(labels, names, n_scores, ids[order], where, options=options))
        values = np.empty_like(read.labels)
        values[order] = read.labels
        start = 0
        for name, part in group.items():
            rows = values[start : start + len(part)]
            parts[name] = _labelled(part, LabelSet(rows, read.names, read.notes))
            start += len(part)
    return Split(**parts)


def _labelled(part: Dataset, read: LabelSet) -> Dataset:
    return replace(part, labels=read.labels, notes=(*part.notes, *read.notes), class_names=read.names)


def _made(part: Dataset, host: HostTask, n_scores: int | None, where: str, options: Any) -> Dataset:  # noqa: ANN401
    """Return samples with the labels that a task makes of their inputs, and of labels if there are any."""
    labels = np.empty((len(part), 0)) if part.labels is None else part.labels
    about = (part.class_names, n_scores, part.ids, where, part.inputs, part.lengths, options)
    given = GivenLabels(labels, *about)
    return _labelled(part, host.truth(given)) if len(part) else part


def _same_source(parts: Sequence[Dataset]) -> bool:
    """Whether the ids of the parts are positions in one source, and not in two."""
    ids = np.concatenate([part.ids for part in parts]) if parts else np.empty(0)
    kinds = {(np.asarray(part.labels).dtype, np.asarray(part.labels).shape[1:]) for part in parts}
    return len(kinds) == 1 and len(np.unique(ids)) == len(ids)


def check_labels(dataset: Dataset, n_classes: int, *, where: str) -> None:
    """Refuse labels that are not indices of ``n_classes`` classes."""
    if dataset.labels is not None:
        data_labels.classes(GivenLabels(dataset.labels, (), n_classes, dataset.ids, where))


def split_by_hash(
    dataset: Dataset,
    *,
    calibration_max: int = 200,
    calibration_share: float = 0.2,
    unit: npt.NDArray[np.int64] | None = None,
) -> Split:
    """Split by the blake2b hash of each sample's bytes.

    The samples with the smallest hashes are calibration samples. The order of the samples does not matter,
    and equal samples are on the same side, so that no test sample is used for calibration.

    Parameters
    ----------
    calibration_max : int
        Maximum number of calibration samples.
    calibration_share : float
        Maximum share of calibration samples, in (0, 1).
    unit : ndarray, shape (n,), int64, optional
        Samples that stay together, such as the rows of a sequence; default: each is a unit.
    """
    positions_of: dict[bytes, list[int]] = {}
    digests = _sample_digests(dataset)
    for position, digest in enumerate(digests if unit is None else _unit_digests(digests, unit)):
        positions_of.setdefault(digest, []).append(position)
    budget = max(1, min(calibration_max, int(len(dataset) * calibration_share)))
    chosen: list[int] = []
    for digest in sorted(positions_of)[: len(positions_of) - 1]:
        if len(chosen) + len(positions_of[digest]) <= budget:
            chosen += positions_of[digest]
    if not chosen:
        raise DataError(
            f"{len(dataset)} samples cannot be split into calibration and test",
            cause=f"only {len(positions_of)} of them are distinct"
            if unit is None
            else f"sequences are not divided: {len(positions_of)} in the data, and calibration takes at most "
            f"{budget} samples",
            next_step="use more samples, or a separate calibration set",
        )
    is_calibration = np.zeros(len(dataset), dtype=bool)
    is_calibration[chosen] = True
    return Split(dataset.take(np.flatnonzero(is_calibration)), dataset.take(np.flatnonzero(~is_calibration)))


def _unit_digests(digests: Sequence[bytes], unit: npt.NDArray[np.int64]) -> list[bytes]:
    """Return for each sample the digest of its whole unit."""
    of_unit = [hashlib.blake2b(digest_size=16) for _ in range(int(unit.max(initial=-1)) + 1)]
    for digest, number in zip(digests, unit.tolist(), strict=True):
        of_unit[number].update(digest)
    return [of_unit[number].digest() for number in unit.tolist()]


def stratified_order(
    labels: npt.NDArray[np.generic] | None, ids: npt.NDArray[np.int64], *, seed: int
) -> npt.NDArray[np.int64]:
    """Order samples so that every prefix has nearly the class proportions of the whole set.

    Within a class, samples are ordered by a hash of (seed, id); the j-th of m samples of a class has the
    position (j + ½)/m. Without labels, or with labels that are not classes (floating point, or several per
    sample), the order is that of the hash. The sequence of ids does not depend on the given order.

    Returns
    -------
    ndarray, shape (n,), int64
        A permutation of positions: ``ids[order]`` is the sequence of ids.
    """
    digests = [
        hashlib.blake2b(f"{seed}/{sample}".encode(), digest_size=16).digest() for sample in ids.tolist()
    ]
    hash_order = sorted(range(len(ids)), key=digests.__getitem__)
    if labels is None or labels.ndim != 1 or labels.dtype.kind not in "iub":
        return np.asarray(hash_order, dtype=np.int64)
    size = dict(zip(*(a.tolist() for a in np.unique(labels, return_counts=True)), strict=True))
    seen = dict.fromkeys(size, 0)
    place = np.empty(len(ids), dtype=np.float64)
    for position in hash_order:
        label = labels[position].item()
        place[position] = (seen[label] + 0.5) / size[label]
        seen[label] += 1
    # A stable sort: classes of equal size, which tie at each step, follow the hash.
    return np.asarray(sorted(hash_order, key=place.__getitem__), dtype=np.int64)


def content_sha256(array: npt.NDArray[np.generic]) -> str:
    """Hash an array's dtype, shape and bytes, independent of the machine's byte order.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{little.dtype.str}{array.shape}".encode())
    digest.update(little.tobytes())
    return digest.hexdigest()


def _sample_digests(dataset: Dataset) -> list[bytes]:
    """Return a hash of each sample's bytes over all inputs in the order of their names."""
    arrays = [np.ascontiguousarray(dataset.inputs[name]) for name in sorted(dataset.inputs)]
    digests = []
    for position in range(len(dataset)):
        digest = hashlib.blake2b(digest_size=16)
        for array in arrays:
            digest.update(array[position].tobytes())
        digests.append(digest.digest())
    return digests
