"""Data sets: what a sample is, and which samples calibrate and which test.

Everything that is chosen here is chosen by hash, never by a random generator's stream, so that a choice
stays the same on every machine, for every NumPy, and in whatever order the samples come.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.core.errors import DataError


@dataclass(frozen=True, slots=True)
class Dataset:
    """Samples in their raw dtype, before any normalisation.

    Parameters
    ----------
    inputs : Mapping[str, ndarray]
        Input name → array, shape (n, ...); images are uint8 NHWC.
    labels : ndarray or None, shape (n,) or (n, k)
        int64 class indices or float64 values; None where there are none.
    ids : ndarray, shape (n,), int64
        A stable number of each sample, from which its random seeds derive.
    class_names : tuple of str
        The names of the classes by index; empty where they are unknown.
    """

    inputs: Mapping[str, npt.NDArray[np.generic]]
    labels: npt.NDArray[np.generic] | None
    ids: npt.NDArray[np.int64]
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, positions: npt.NDArray[np.int64]) -> Dataset:
        """Give the samples at ``positions``, in that order; each keeps its id."""
        return Dataset(
            inputs={name: array[positions] for name, array in self.inputs.items()},
            labels=None if self.labels is None else self.labels[positions],
            ids=self.ids[positions],
            class_names=self.class_names,
        )


@dataclass(frozen=True, slots=True)
class Split:
    """What calibrates a compression, and what tests it; no sample is in both."""

    calibration: Dataset
    test: Dataset


def split_by_hash(dataset: Dataset, *, calibration_max: int = 200, calibration_share: float = 0.2) -> Split:
    """Split by the blake2b of each sample's bytes.

    The samples with the smallest hashes calibrate. The order of the samples does not matter, and equal
    samples fall on the same side, so that no test sample was seen in calibration.

    Parameters
    ----------
    calibration_max : int
        Most samples that calibrate.
    calibration_share : float
        Largest share of all samples that calibrate, in (0, 1).
    """
    positions_of: dict[bytes, list[int]] = {}
    for position, digest in enumerate(_sample_digests(dataset)):
        positions_of.setdefault(digest, []).append(position)
    budget = max(1, min(calibration_max, int(len(dataset) * calibration_share)))
    chosen: list[int] = []
    for digest in sorted(positions_of)[: len(positions_of) - 1]:  # at least one distinct sample tests
        if len(chosen) + len(positions_of[digest]) <= budget:
            chosen += positions_of[digest]
    if not chosen:
        raise DataError(
            f"{len(dataset)} samples cannot be split into calibration and test",
            cause=f"only {len(positions_of)} of them differ",
            next_step="give more samples, or a calibration set of its own",
        )
    calibrates = np.zeros(len(dataset), dtype=bool)
    calibrates[chosen] = True
    return Split(dataset.take(np.flatnonzero(calibrates)), dataset.take(np.flatnonzero(~calibrates)))


def stratified_order(
    labels: npt.NDArray[np.generic] | None, ids: npt.NDArray[np.int64], *, seed: int
) -> npt.NDArray[np.int64]:
    """Order samples so that every prefix holds the classes in nearly the proportions of the whole.

    Within a class the order is that of a hash of (seed, id); the j-th of a class of m samples stands at
    (j + ½)/m of the whole. Without labels, or with labels that are no classes (floating point, or several
    a sample), it is the order of the hash alone. The sequence of ids does not depend on the order given.

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
    # Stable, so that classes of equal size, which tie at each step, follow the hash.
    return np.asarray(sorted(hash_order, key=place.__getitem__), dtype=np.int64)


def content_sha256(array: npt.NDArray[np.generic]) -> str:
    """Hash an array's dtype, shape and bytes; the same on machines of either byte order.

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
    """Hash each sample's bytes over all inputs, in the order of the inputs' names."""
    arrays = [np.ascontiguousarray(dataset.inputs[name]) for name in sorted(dataset.inputs)]
    digests = []
    for position in range(len(dataset)):
        digest = hashlib.blake2b(digest_size=16)
        for array in arrays:
            digest.update(array[position].tobytes())
        digests.append(digest.digest())
    return digests
