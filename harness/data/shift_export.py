"""Shifted sets as files, in the layout that ``[shifts] sets`` reads: for another machine, pinned by hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness import tasks
from harness.config.validation import Validation
from harness.core.artifact import sha256_file
from harness.core.errors import UsageError
from harness.core.preprocess import Preprocess
from harness.core.profile import Profile
from harness.data import shifted
from harness.data.sets import step_of, with_rate
from harness.data.shifts.given import SUMS
from harness.data.splits import split_of
from harness.store.cache import Cache, write_atomically, writing


@dataclass(frozen=True, slots=True)
class Exported:
    """Files and their hashes, and the families that were not made and why."""

    sha256: Mapping[str, str]
    skipped: Mapping[str, str]


def export(
    validation: Validation,
    folder: Path,
    out: Path,
    cache: Cache,
    families: tuple[str, ...] = (),
    tell: shifted.Tell = shifted.quiet,
    workers: int = 0,
) -> Exported:
    """Make shifted sets and write them as ``OUT/FAMILY/SEVERITY.npy``, with ``OUT/SHA256SUMS``.

    Parameters
    ----------
    folder : Path
        Of the ``validation.toml``.
    families : tuple of str
        Empty: all that apply.
    workers : int
        Processes; 0: as many as are worth it.

    Raises
    ------
    HarnessError
        There are no shifts, the data have several inputs or sequences, or a family cannot be made.
    """
    inputs = {name: table for name, table in validation.input.items() if table.value is None}
    if validation.shifts.kind == "none" or validation.data.sequence is not None or len(inputs) > 1:
        raise UsageError(
            "shifted sets are built of data with one input, without sequences, and with a kind of shifts",
            where="shifts.kind",
            next_step='set [shifts] kind = "image" or "features"',
        )
    host = tasks.on_host(validation.model.task)
    options = host.task.read_options(validation.task)
    split = split_of(validation.data, folder, tuple(inputs) or ("input",), host, options)
    ((name, raw),) = split.test.inputs.items()
    step = step_of(inputs[name]) if name in inputs else Preprocess()
    chosen = {"families": families, "quick": True} if families else {}
    table = with_rate(validation).model_copy(update=chosen)
    copy = shifted.Shifted(cache, raw, split.test.ids, table, split.calibration.inputs.get(name), step)
    profile = Profile.QUICK if families else Profile.STANDARD
    cells = shifted.cells(table, {name: copy.about}, profile)
    # A mistake is no shift: read back, it would count as one.
    made = [cell for cell in cells.made if not cell[0].mistake]
    sums: dict[str, str] = {}
    for (family, severity), arrays in zip(made, shifted.make({name: copy}, made, tell, workers), strict=True):
        changed = np.load(cache.array_path(arrays[name]), mmap_mode="r", allow_pickle=False)
        whole = np.zeros((int(split.test.ids.max()) + 1, *raw.shape[1:]), changed.dtype)
        whole[split.test.ids] = changed  # at the place that each sample has in the data
        path = out / family.name / f"{severity}.npy"
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, whole)
        sums[path.relative_to(out).as_posix()] = sha256_file(path)
    write_atomically(out / SUMS, "".join(f"{sha}  {path}\n" for path, sha in sums.items()).encode())
    return Exported(sums, cells.skipped)
