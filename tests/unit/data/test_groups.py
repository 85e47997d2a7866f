"""Columns that divide samples into groups and windows: read from each format, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.config.load import check
from harness.config.schema import DataTable
from harness.config.validation import Validation
from harness.core.artifact import TensorSpec
from harness.core.errors import ConfigurationError, DataError, UsageError
from harness.core.groups import Groups
from harness.data import groups
from harness.data.datasets import Dataset, Split
from harness.data.groups import groups_of, strata
from harness.data.sets import prepare
from harness.data.splits import split_of
from harness.store.cache import Cache

ROWS = 40
SITES = np.array(["Zürich", "Bern"])[np.arange(ROWS) % 2]
DAYS = np.datetime64("2024-01-30") + np.arange(ROWS)
X = np.arange(2.0 * ROWS, dtype=np.float32).reshape(ROWS, 2) + 0.5


def table(**keys: Any) -> DataTable:
    return DataTable.model_validate({"callable": "a:b", "split": "none"} | keys)


def split(**metadata: Any) -> Split:
    columns = {name: np.asarray(values) for name, values in metadata.items()}
    count = len(next(iter(columns.values())))
    data = Dataset({"x": np.zeros((count, 1))}, None, np.arange(count), metadata=columns)
    return Split(data.take(np.arange(0)), data)


def divided(values: Any, **keys: Any) -> Groups:
    made, _ = groups_of(split(c=values), table(**keys), where="data")
    return made[0]


def csv(folder: Path, separator: str = ",") -> Path:
    lines = [separator.join(["day", "a", "site", "b", "label"])]
    for day, (a, b), site, label in zip(DAYS, X, SITES, np.arange(ROWS) % 2, strict=True):
        lines.append(separator.join(map(str, (day, a, site, b, "ja" if label else "nein"))))
    path = folder / "data.csv"
    path.write_text("\n".join(lines))
    return path


def parquet(folder: Path) -> Path:
    import pandas as pd

    labels = np.array(["nein", "ja"])[np.arange(ROWS) % 2]
    frame = pd.DataFrame({"day": DAYS, "a": X[:, 0], "site": SITES, "b": X[:, 1], "label": labels})
    frame.to_parquet(folder / "data.parquet")
    return folder / "data.parquet"


def npz(folder: Path) -> Path:
    np.savez(folder / "data.npz", x=X, labels=np.arange(ROWS) % 2, site=SITES, day=DAYS)
    return folder / "data.npz"


@pytest.mark.parametrize("write", [csv, parquet, npz])
def test_columns_describe_the_samples_and_are_not_fed(tmp_path: Path, write: Any) -> None:
    path = write(tmp_path)
    label = {} if path.suffix == ".npz" else {"label_column": "label"}
    read = DataTable(path=path.name, split="none", group="site", time="day", **label)
    test = split_of(read, tmp_path, ("x",)).test
    np.testing.assert_array_equal(test.inputs["x"], X)
    sites, days = groups_of(Split(test.take(np.arange(0)), test), read, where="data")[0]
    assert sites.names == ("Bern", "Zürich")
    np.testing.assert_array_equal(sites.index, 1 - np.arange(ROWS) % 2)
    assert days.names[0] == "2024-01-30..2024-02-06"
    np.testing.assert_array_equal(days.index, np.arange(ROWS) // 8)
    assert [sites.kind, days.kind] == ["group", "window"]


def test_a_column_can_be_named_by_its_position(tmp_path: Path) -> None:
    path = csv(tmp_path)
    path.write_text("\n".join(path.read_text().splitlines()[1:]))
    read = DataTable(path=path.name, split="none", group=2, time=0, label_column=-1)
    test = split_of(read, tmp_path, ("x",)).test
    assert set(test.metadata) == {"column 2", "column 0"}
    np.testing.assert_array_equal(test.inputs["x"], X)


def test_a_column_of_an_image_list_is_a_group(tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "images"
    folder.mkdir()
    for name in "abcd":
        Image.new("L", (4, 4)).save(folder / f"{name}.png")
    rows = [f"{name}.png,{site},{label}" for name, site, label in zip("abcd", "NNSS", "0101", strict=True)]
    (tmp_path / "list.csv").write_text("\n".join(["file,site,label", *rows]))
    read = DataTable(path="images", labels="list.csv", split="none", group="site", skip=("c.png",))
    test = split_of(read, tmp_path, ("x",)).test
    assert test.metadata["site"].tolist() == ["N", "N", "S"]
    assert test.labels is not None
    assert test.labels.tolist() == [0, 1, 1]


def test_samples_that_are_left_out_take_their_group_along(tmp_path: Path) -> None:
    path = csv(tmp_path)
    lines = path.read_text().splitlines()
    lines[3] = lines[3].replace("4.5", "")  # a feature of the third sample
    lines[5] = lines[5].replace("Zürich", "")
    path.write_text("\n".join(lines))
    keys: dict[str, Any] = {"path": path.name, "split": "none", "group": "site", "time": "day"}
    keys["label_column"] = "label"
    test = split_of(DataTable(**keys, missing="drop"), tmp_path, ("x",)).test
    remaining = np.delete(np.arange(ROWS), [2, 4])
    np.testing.assert_array_equal(test.ids, remaining)
    np.testing.assert_array_equal(test.metadata["site"], SITES[remaining])
    with pytest.raises(
        DataError, match="1 of 40 rows have no value in 'site'; the first: line 6, column 'site'"
    ):
        split_of(DataTable(**keys, missing=0.0), tmp_path, ("x",))


def test_the_split_and_a_limit_keep_the_groups_of_the_samples(tmp_path: Path) -> None:
    path = csv(tmp_path)
    text = f"""
    [model]
    name = "m"
    file = "m.onnx"
    [data]
    path = "{path.name}"
    label_column = "label"
    group = "site"
    time = "day"
    windows = 2
    calibration_samples = 8
    max_samples = 20
    """
    import tomllib

    validation = check(tomllib.loads(text), Validation, where="here")
    cache = Cache(tmp_path / "cache")
    data = prepare(validation, tmp_path, cache, (TensorSpec("x", (None, 2), "float32"),), 2)
    x = np.load(cache.array_path(data.sets[0].ref.inputs["x"]))
    rows = ((x[:, 0] - 0.5) / 2).astype(int)
    sites, days = data.groups
    np.testing.assert_array_equal(np.array(sites.names)[sites.index], SITES[rows])
    assert len(rows) == 20
    for row, window in zip(rows, days.index, strict=True):
        first, last = map(np.datetime64, days.names[window].split(".."))
        assert first <= DAYS[row] <= last
    # The first samples, which a board may run alone, have every group.
    assert set(sites.index[:4]) == {0, 1}
    assert Groups.from_json(sites.to_json()).to_json() == sites.to_json()


@given(
    st.lists(st.integers(-50, 50), min_size=2, max_size=120), st.integers(2, 8),
)  # fmt: skip
def test_windows_divide_in_time_order_and_as_equally_as_ties_allow(values: list[int], count: int) -> None:
    times = np.array(values)
    if len(set(values)) < count:
        with pytest.raises(DataError, match=f"fewer than windows = {count}"):
            divided(times, time="c", windows=count)
        return
    window = divided(times, time="c", windows=count).index
    order = np.argsort(times, kind="stable")
    assert (np.diff(window[order]) >= 0).all()
    assert all(len(set(window[times == time])) == 1 for time in values)
    largest_tie = max(values.count(time) for time in values)
    sizes = np.bincount(window)
    assert (sizes > 0).all()
    assert sizes.max() <= len(values) / count + largest_tie + 1
    if largest_tie == 1:
        assert len(sizes) == count
        assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["3", "1", "2", "10"], ("1..2", "3..10")),
        ([0.5, 1.25, 1e6, -3], ("-3..0.5", "1.25..1000000")),
        (["2024-03-01", "2023-12-31", "2024-01-01", "2024-02-29"],
         ("2023-12-31..2024-01-01", "2024-02-29..2024-03-01")),
        (["2024-03-01T10:00", "2024-03-01T09:00", "2024-03-01T08:00:30", "2024-03-02T00:00"],
         ("2024-03-01T08:00:30..2024-03-01T09:00:00", "2024-03-01T10:00:00..2024-03-02T00:00:00")),
        (["2024-01-01T23:30-05:00", "2024-01-02T00:00Z", "2024-01-03T00:00Z", "2024-01-04T00:00Z"],
         ("2024-01-02T00:00:00..2024-01-02T04:30:00", "2024-01-03T00:00:00..2024-01-04T00:00:00")),
    ],
)  # fmt: skip
def test_the_name_of_a_window_is_its_range(values: list[Any], names: tuple[str, ...]) -> None:
    assert divided(values, time="c", windows=2).names == names


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([10, 9, 10, 9], ("9", "10")),
        ([1.0, 2.0, 1.0, 2.0], ("1", "2")),
        ([0.5, 2.0, 0.5, 2.0], ("0.5", "2.0")),
        ([" a", "a ", "b\nc", "b c"], ("a", "b c")),
        (["\x1b[1m", "x", "x", "x"], ("x", "\N{REPLACEMENT CHARACTER}[1m")),
        ([True, False, True, True], ("False", "True")),
    ],
)
def test_names_of_groups(values: list[Any], names: tuple[str, ...]) -> None:
    assert divided(values, group="c").names == names


@pytest.mark.parametrize(
    ("values", "keys", "message"),
    [
        (["A"] * 9, {"group": "c"}, "one value in all 9 test samples: .*'A'"),
        (np.arange(5000), {"group": "c"}, "5,000 values in 5,000 test samples; at most 200 groups"),
        (["31.03.2024", "2024-04-01"], {"time": "c", "windows": 2}, "1 of 2 values of the column 'c' are no"),
        ([True, False], {"time": "c", "windows": 2}, "no times: its dtype is bool"),
        ([1, 1, 2, 2], {"time": "c"}, "2 different times in 4 test samples, fewer than windows = 5"),
        (["A", "B"], {"group": "site"}, "the data have no column 'site'"),
    ],
)  # fmt: skip
def test_a_column_that_gives_no_groups_is_refused(values: Any, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        divided(values, **keys)


@pytest.mark.parametrize(
    ("write", "keys", "message"),
    [
        (csv, {"group": "sit"}, "data.csv has no column 'sit'; did you mean 'site'?"),
        (csv, {"group": 7}, "data.csv has 5 columns, but no column 7"),
        (csv, {"group": 4}, "'column 4' is a column of labels, too"),
        (npz, {"group": "sit"}, "data.npz has no array 'sit'"),
        (npz, {"group": "x"}, "'x' is an input of the model"),
    ],
)
def test_a_column_that_does_not_exist_is_refused(
    tmp_path: Path, write: Any, keys: dict[str, Any], message: str
) -> None:
    path = write(tmp_path)
    label = {} if path.suffix == ".npz" else {"label_column": "label"}
    with pytest.raises(DataError, match=message):
        split_of(DataTable(path=path.name, **label, **keys), tmp_path, ("x",))


def test_arrays_without_columns_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", X)
    with pytest.raises(DataError, match=r"data.npy \(npy\) has no column 'site'"):
        split_of(DataTable(path="data.npy", group="site"), tmp_path, ("x",))


def test_missing_values_of_an_archive_are_refused(tmp_path: Path) -> None:
    site = np.where(np.arange(ROWS) == 3, np.nan, 1.0)
    np.savez(tmp_path / "data.npz", x=X, site=site)
    keys: dict[str, Any] = {"path": "data.npz", "split": "none", "group": "site"}
    with pytest.raises(
        DataError, match="1 of 40 samples have no value in the column 'site'; the first: sample 3"
    ):
        split_of(DataTable(**keys), tmp_path, ("x",))
    assert len(split_of(DataTable(**keys, missing="drop"), tmp_path, ("x",)).test) == ROWS - 1


def test_a_separate_calibration_file_needs_no_such_column(tmp_path: Path) -> None:
    csv(tmp_path)
    (tmp_path / "calibration.csv").write_text("a,b,label\n" + "1.5,2,ja\n1.5,3,nein\n" * 2)
    keys = {"path": "data.csv", "label_column": "label", "group": "site", "time": "day"}
    calibration = {"path": "calibration.csv", "label_column": "label"}
    read = DataTable.model_validate({**keys, "calibration": calibration})
    made = split_of(read, tmp_path, ("x",))
    assert made.calibration.inputs["x"].shape == (4, 2)
    assert not made.calibration.metadata


def test_a_group_of_calibration_samples_alone_is_told() -> None:
    data = split(c=["A", "B", "A", "C"]).test
    both = Split(data.take(np.array([1])), data.take(np.array([0, 2, 3])))
    _, notes = groups_of(both, table(group="c"), where="data")
    assert notes == ("c B: only among the calibration samples, so it is not tested",)


def test_ties_that_leave_fewer_windows_are_told() -> None:
    values = [1] * 50 + [2, 3, 4, 5]
    made, notes = groups_of(split(c=values), table(time="c"), where="data")
    assert notes == (f"c: {len(made[0].names)} windows instead of 5, because equal times are not divided",)


def test_the_order_is_stratified_by_label_and_group() -> None:
    index = np.array([0, 1, 0, 1])
    one = Groups("c", ("A", "B"), index)
    labels: NDArray[Any] = np.array([0, 0, 1, 1])
    assert strata(labels, ()) is labels
    combined = strata(labels, (one,))
    assert combined is not None
    assert len(set(combined.tolist())) == 4
    np.testing.assert_array_equal(strata(labels.astype(float), (one,)), index)


def test_windows_without_time_is_an_error() -> None:
    with pytest.raises(ValueError, match="name it with time"):
        table(windows=3)
    with pytest.raises(ValueError, match="label_column name the same column"):
        table(group="c", label_column="c")
    assert groups.MOST_GROUPS == 200
    assert issubclass(DataError, UsageError)
    assert issubclass(ConfigurationError, UsageError)


def test_times_of_a_time_zone_are_ordered_as_they_passed(tmp_path: Path) -> None:
    import pandas as pd

    days = pd.date_range("2024-10-26 22:00", periods=ROWS, freq="15min", tz="UTC").tz_convert("Europe/Zurich")
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "at": days})
    frame.to_parquet(tmp_path / "data.parquet")
    read = DataTable(path="data.parquet", split="none", time="at")
    test = split_of(read, tmp_path, ("x",)).test
    (windows,) = groups_of(Split(test.take(np.arange(0)), test), read, where="data")[0]
    np.testing.assert_array_equal(windows.index, np.arange(ROWS) // 8)
    assert windows.names[0] == "2024-10-26T22:00:00..2024-10-26T23:45:00"
