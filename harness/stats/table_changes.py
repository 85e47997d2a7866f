"""Differences between the rows of two tables, and which of them are noise. Pure arithmetic.

Rows are joined on the key of the table; a row that only one side has is NOT_RUN on the other. Where devices
are compared, target and backend differ and are no part of the key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import pandas as pd

from harness.core.job import DEPLOY
from harness.core.measurement import KEY_COLUMNS
from harness.core.metric import Declared, Metric, Noise
from harness.stats import difference, disturbance, many, outer_join
from harness.stats.difference import RATIO_UNITS, Values

#: Columns that are not part of the key where devices are compared.
DEVICE_COLUMNS = ("target", "backend")
#: Of a batch, during which the load of the machine is known.
LOAD_COLUMNS = ("target", "backend", "variant", "suite")
BOUNDS = ("value", "ci_low", "ci_high")
NO_DIRECTION = "has no declared direction"
#: Largest relative difference at which two numbers count as equal: a logarithm's last bits vary by CPU.
SAME_RTOL = 1e-12
Flags = np.ndarray[tuple[int], np.dtype[np.bool_]]


class Change(StrEnum):
    """How a row differs between the two tables."""

    SAME = "same"
    NOISE = "within noise"
    #: Beyond the noise of one row, but not beyond that of the worst of so many; or the machine was busier.
    UNCLEAR = "unclear"
    BETTER = "better"
    WORSE = "worse"
    CHANGED = "changed"
    UNLIKE = "unlike"
    NOT_RUN = "not run"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Side:
    """One table to compare.

    Parameters
    ----------
    label : str
        Its name on the screen.
    frame : DataFrame
        Rows as in ``measurements.csv``, without those of the host.
    sets : mapping of name to str, optional
        Digest of each data set (``clean``, ``fog_3``); None where they are not known.
    per_sample : mapping of key to ndarray
        What each sample contributes to the value, by the columns of the key; empty for a CSV alone.
    metrics : Declared
        What the suites declare of the metrics.
    loads : mapping of key to Load
        How busy the machine was, by `LOAD_COLUMNS`; nothing where it is not known.
    """

    label: str
    frame: pd.DataFrame
    sets: Mapping[str, str] | None = None
    per_sample: Mapping[tuple[object, ...], Values] = field(default_factory=dict, repr=False)
    metrics: Declared = field(default_factory=Declared, repr=False)
    loads: Mapping[tuple[str, ...], disturbance.Load] = field(default_factory=dict, repr=False)


def busier(base: Side, new: Side) -> dict[tuple[str, ...], str]:
    """Why times of a batch do not compare, by `LOAD_COLUMNS`: one machine was busier, or both waited."""
    batches = {}
    for key in sorted(base.loads.keys() & new.loads.keys()):
        if text := disturbance.both_crowded(base.loads[key], new.loads[key]):
            batches[key] = f"{base.label} and {new.label} ran beside other programs: {text}"
        for one, two in ((base, new), (new, base)):
            if text := disturbance.busier(one.loads[key], two.loads[key]):
                batches[key] = f"{two.label} ran on a busier machine than {one.label}: {text}"
    return batches


def compare(base: Side, new: Side, *, devices: bool = False) -> pd.DataFrame:
    """Compare two tables row by row.

    Parameters
    ----------
    base, new : Side
    devices : bool
        Compare devices: target and backend may differ between the sides.

    Returns
    -------
    DataFrame
        One row per key: the columns of the key, ``unit``, ``base``, ``new``, ``kind``, ``change``,
        ``ci_low``, ``ci_high``, ``paired``, ``n``, ``class`` (a `Change`) and ``why``. ``kind`` is ``ratio``
        (new / base) or ``difference`` (new - base). The interval of ``change`` leaves 5 % on each side.
        Where ``paired`` is true, ``base``, ``new`` and ``change`` are computed over the ``n`` samples that
        both sides ran. With `devices`, ``target_base``, ``target_new``, ``backend_base`` and
        ``backend_new`` are added.
    """
    key = [column for column in KEY_COLUMNS if not (devices and column in DEVICE_COLUMNS)]
    extra = list(DEVICE_COLUMNS) if devices else []
    columns = [*extra, "unit", "value", "ci_low", "ci_high", "n", "status", "reason"]
    joined = outer_join.outer(base.frame, new.frame, key, columns)
    unit = joined["unit_new"].where(joined["unit_new"].notna(), joined["unit_base"])
    ratio = unit.isin(RATIO_UNITS).to_numpy()
    sides = [[joined[f"{name}_{side}"].to_numpy(np.float64) for name in BOUNDS] for side in ("base", "new")]
    change, low, high = np.full((3, len(joined)), np.nan)
    df = np.full(len(joined), np.inf)
    metrics = _Declarations(new.metrics.or_else(base.metrics), joined)
    noisy = metrics.map(lambda metric, row: difference.varies_between_runs(metric, str(unit.iat[row])))
    least = np.where(noisy, unit.map(difference.least_distance).to_numpy(np.float64), 0.0)
    for as_ratio, widen, rows in (
        (True, difference.noise_factor(), ratio & noisy), (True, 1.0, ratio & ~noisy),
        (False, difference.noise_factor(), ~ratio & noisy), (False, 1.0, ~ratio & ~noisy),
    ):  # fmt: skip
        one, two = ([part[rows] for part in side] for side in sides)
        change[rows], low[rows], high[rows] = difference.independent(
            one, two, ratio=as_ratio, widen=widen, least=least[rows]
        )
        if widen > 1:
            df[rows] = difference.degrees_of_freedom(one, two, ratio=as_ratio, least=least[rows])
    result = joined[[*key, *(f"{name}_{side}" for name in extra for side in ("base", "new"))]].copy()
    result["unit"], result["base"], result["new"] = unit, sides[0][0], sides[1][0]
    result["kind"] = np.where(ratio, "ratio", "difference")
    result["change"], result["ci_low"], result["ci_high"] = change, low, high
    p = _pair(result, joined, base, new, extra)
    result["class"], result["why"] = _classes(result, joined, base, new, metrics)
    if not devices:
        _discount_load(result, busier(base, new))
    _correct(result, p, df, metrics)
    return result


def _discount_load(result: pd.DataFrame, batches: Mapping[tuple[str, ...], str]) -> None:
    """Call times unclear that changed on a busy machine."""
    timed = result["unit"].isin(difference.TIME_UNITS)
    changed = timed & result["class"].isin([Change.BETTER, Change.WORSE])
    for key, text in batches.items():
        rows = changed.copy()
        for column, value in zip(LOAD_COLUMNS, key, strict=True):
            rows &= result[column] == value
        result.loc[rows, "why"] = result.loc[rows, "class"].astype("str") + f" by itself, but {text}"
        result.loc[rows, "class"] = str(Change.UNCLEAR)


def _pair(result: pd.DataFrame, joined: pd.DataFrame, base: Side, new: Side, extra: list[str]) -> Values:
    """Fill in paired values and intervals where both sides have per-sample values.

    Returns
    -------
    ndarray, shape (rows,)
        One-sided p of paired rows; NaN where rows are not paired, or no sample differs.
    """
    p = np.full(len(result), np.nan)
    names = ["base", "new", "change", "ci_low", "ci_high", "n"]
    numbers = {name: result[name].to_numpy(np.float64, copy=True) for name in names[:-1]}
    numbers["n"] = np.full(len(result), np.nan)
    if base.per_sample and new.per_sample:
        side_columns = [[f"{c}_{side}" if c in extra else c for c in KEY_COLUMNS] for side in ("base", "new")]
        # Column by column: iterating over pandas rows takes as long as everything else together.
        columns = {name: joined[name].to_numpy(object) for side in side_columns for name in side}
        keys = [zip(*(columns[name] for name in side), strict=True) for side in side_columns]
        rows = zip(*keys, result["unit"].to_numpy(object), strict=True)
        # By both sample counts and the unit: row positions, and the per-sample values of each side.
        alike: dict[tuple[int, int, str], tuple[list[int], list[Values], list[Values]]] = {}
        for position, (base_key, new_key, unit) in enumerate(rows):
            one, two = base.per_sample.get(base_key), new.per_sample.get(new_key)
            if one is not None and two is not None and unit not in RATIO_UNITS:
                places, ones, twos = alike.setdefault((len(one), len(two), unit), ([], [], []))
                places.append(position)
                ones.append(one)
                twos.append(two)
        for (one_n, two_n, unit), (places, *pair) in alike.items():
            n = min(one_n, two_n)
            first, second = (np.stack([part[:n] for part in side]) for side in pair)
            intervals, p[places] = difference.paired_rows(first, second, unit)
            if one_n != two_n:  # one side has max_samples: the first n of both count
                numbers["base"][places], numbers["new"][places] = first.mean(axis=1), second.mean(axis=1)
            numbers["n"][places] = n
            for name, part in (("change", "value"), ("ci_low", "low"), ("ci_high", "high")):
                numbers[name][places] = [getattr(interval, part) for interval in intervals]
    for name, column in numbers.items():
        result[name] = column
    result["paired"] = ~np.isnan(numbers["n"])
    return p


class _Declarations:
    """The declarations of a table's rows, looked up once for each suite, metric and unit."""

    def __init__(self, declared: Declared, rows: pd.DataFrame) -> None:
        self._codes = outer_join.numbered(
            [rows["suite"], rows["metric"], rows["unit_base"], rows["unit_new"]]
        )
        self._firsts = outer_join.first_rows(self._codes)
        suites, names = (rows[column].iloc[self._firsts].to_numpy(object) for column in ("suite", "metric"))
        self._metrics = [declared.find(str(s), str(m)) for s, m in zip(suites, names, strict=True)]

    def map(self, condition: Callable[[Metric | None, int], bool]) -> Flags:
        """Evaluate a condition for every row.

        Parameters
        ----------
        condition : callable
            Takes the declaration of a row (None if undeclared), and the position of a row that has it.

        Returns
        -------
        ndarray, shape (rows,), bool
        """
        flags = [condition(m, row) for m, row in zip(self._metrics, self._firsts.tolist(), strict=True)]
        return np.array(flags, np.bool_)[self._codes] if flags else np.zeros(0, np.bool_)

    def whole(self, rows: pd.DataFrame) -> Flags:
        """Rows that stand for a variant as a whole: the case of a metric that has a role, as it ships."""
        case_of = np.array(
            [metric.case if metric is not None and metric.role else "" for metric in self._metrics], object
        )
        cases = case_of[self._codes] if len(case_of) else np.zeros(0, object)
        as_it_ships = (rows["setting"] == DEPLOY).to_numpy() & (rows["severity"] == 0).to_numpy()
        return np.asarray(as_it_ships & (rows["case"].to_numpy(object) == cases))

    def goodness(self, values: Values) -> Values:
        """See `Metric.goodness`; zeros where a metric is not declared."""
        good = np.zeros_like(values)
        for code, metric in enumerate(self._metrics):
            if metric is not None:
                rows = self._codes == code
                good[rows] = metric.goodness(values[rows])
        return good


def _classes(
    result: pd.DataFrame, joined: pd.DataFrame, base: Side, new: Side, metrics: _Declarations
) -> tuple[pd.Series, pd.Series]:
    neutral = np.where(result["kind"] == "ratio", 1.0, 0.0)
    change, low, high = (result[name].to_numpy(np.float64) for name in ("change", "ci_low", "ci_high"))
    values_of = [result[name].to_numpy(np.float64) for name in ("base", "new")]
    same = np.isclose(values_of[0], values_of[1], rtol=SAME_RTOL, atol=0)
    bounded = np.isfinite(low) & np.isfinite(high)
    good = [metrics.goodness(values) for values in values_of]
    with np.errstate(invalid="ignore"):
        direction = np.where(np.isfinite(change), np.sign(good[1] - good[0]), 0.0)
    undeclared = metrics.map(lambda metric, _: metric is None)
    noisy = metrics.map(lambda metric, _: metric is not None and metric.noise is not Noise.NONE)
    per_set = metrics.map(lambda metric, _: metric is not None and metric.per_data_set)
    not_ok = {side: (joined[f"status_{side}"] != "OK").to_numpy() for side in ("base", "new")}
    absent = {side: joined[f"status_{side}"].isna().to_numpy() for side in ("base", "new")}
    unlike = _unlike(result, base, new)
    counts = [joined[f"n_{side}"].fillna(0).to_numpy() for side in ("base", "new")]
    uneven = (counts[0] != counts[1]) & ~bounded & per_set
    units = (joined["unit_base"] != joined["unit_new"]).to_numpy() & ~absent["base"] & ~absent["new"]
    conditions = [
        (absent["base"], Change.NOT_RUN, f"no such row in {base.label}"),
        (absent["new"], Change.NOT_RUN, f"no such row in {new.label}"),
        (not_ok["base"] & not_ok["new"], Change.INVALID, "both sides are invalid"),
        (not_ok["base"], Change.INVALID, None),
        (not_ok["new"], Change.INVALID, None),
        (units, Change.UNLIKE, "the units differ"),
        (unlike, Change.UNLIKE, "the data sets differ"),
        (same, Change.SAME, ""),
        (bounded & (low <= neutral) & (neutral <= high), Change.NOISE, ""),
        (uneven, Change.UNLIKE, "the numbers of samples differ"),
        (noisy & ~bounded, Change.CHANGED, "no interval: it may be noise"),
        (undeclared, Change.CHANGED, NO_DIRECTION),
        (direction == 0, Change.CHANGED, ""),
        (direction > 0, Change.BETTER, ""),
    ]
    chosen = np.select(
        [condition for condition, _, _ in conditions], np.arange(len(conditions)), len(conditions)
    )
    classes = pd.array([*(str(change_) for _, change_, _ in conditions), str(Change.WORSE)], dtype="str")
    texts = pd.array([*(text or "" for _, _, text in conditions), ""], dtype="str")
    why = pd.Series(texts.take(chosen), index=result.index)
    undeclared_rows = chosen == [text for _, _, text in conditions].index(NO_DIRECTION)
    why[undeclared_rows] = (
        "metric " + result.loc[undeclared_rows, "metric"].astype("str") + f" {NO_DIRECTION}"
    )
    for side, label in (("base", base.label), ("new", new.label)):
        unmatched = absent["base"] | absent["new"]
        rows = not_ok[side] & ~unmatched & ~(not_ok["base"] & not_ok["new"])
        status, reason = (joined.loc[rows, f"{name}_{side}"].astype("str") for name in ("status", "reason"))
        why[rows] = f"{label} is " + (status + ": " + reason.fillna("")).str.split("\n").str[0]
    return pd.Series(classes.take(chosen), index=result.index), why


def _correct(result: pd.DataFrame, paired_p: Values, df: Values, metrics: _Declarations) -> None:
    """Call changes unclear that are not significant among all rows of the comparison.

    Half of the level is for the rows that stand for a variant as a whole. Rows without noise are no part of
    it: an exact count, and rows of which every sample is the same. ``ci_low`` and ``ci_high`` are not
    corrected.
    """
    numbers = [result[name].to_numpy(np.float64) for name in ("change", "ci_low", "ci_high")]
    with np.errstate(divide="ignore", invalid="ignore"):  # rows with such ratios are not used
        ratio = (result["kind"] == "ratio").to_numpy()
        change, low, high = (np.where(ratio, np.log(part), part) for part in numbers)
    paired = result["paired"].to_numpy()
    p = np.where(paired, paired_p, many.one_sided_p(change, low, high, df, difference.PROCESSES - 1))
    tested = result["class"].isin([Change.SAME, Change.NOISE, Change.BETTER, Change.WORSE]).to_numpy()
    tested = tested & metrics.map(lambda metric, _: metric is not None and metric.better is not None)
    p = np.where(tested & ~np.isnan(low), p, np.nan)
    whole = metrics.whole(result) & np.isfinite(p)
    weights = np.where(whole, 1 / max(1, whole.sum()), 1 / max(1, (np.isfinite(p) & ~whole).sum()))
    for change_ in (Change.BETTER, Change.WORSE):
        rows = (result["class"] == change_).to_numpy() & np.isfinite(p)
        unclear = rows & ~many.holm(np.where(rows | np.isnan(p), p, 1.0), weights)
        result.loc[unclear, "class"] = str(Change.UNCLEAR)
        result.loc[unclear, "why"] = (
            f"{change_} by itself, but not significant among {np.isfinite(p).sum()} rows"
        )


def _unlike(result: pd.DataFrame, base: Side, new: Side) -> Flags:
    """Rows of data sets whose digests differ; none where a table has no digests."""
    if base.sets is None or new.sets is None:
        return np.zeros(len(result), np.bool_)
    shared = set(base.sets) & set(new.sets)
    other = {name for name in shared if base.sets[name] != new.sets[name]}
    cases = result["case"].astype(str).str.split("/").str[0]
    names = cases.where(result["severity"].fillna(0) == 0, cases + "_" + result["severity"].astype(str))
    return names.isin(other).to_numpy()
