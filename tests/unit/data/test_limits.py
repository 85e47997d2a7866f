"""What is not a file of data, or holds more than it says, is refused before it is read."""

from __future__ import annotations

import gzip
import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.core.errors import DataError
from harness.data import tables
from harness.data.sources import DataSource, load


@pytest.mark.parametrize("name", ["x.npz", "x.npy", "x.csv", "x.parquet", "x"])
def test_a_fifo_is_not_opened(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="is a FIFO"):
        load(DataSource(path=tmp_path / name))
    np.save(tmp_path / "data.npy", np.zeros((3, 2)))
    with pytest.raises(DataError, match="is a FIFO"):
        load(DataSource(path=tmp_path / "data.npy", labels=tmp_path / name))


def test_a_device_is_not_opened() -> None:
    with pytest.raises(DataError, match="zero is a character device"):
        load(DataSource(path=Path("/dev/zero")))


def header_of(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def test_an_archive_that_says_it_holds_more(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header_of((800_000, 1000)) + bytes(1000))
    with pytest.raises(
        DataError, match=r"6,400,\d+,\d+ bytes|6,400,000,000 bytes, more than max_bytes = 4,000,000,000"
    ) as caught:
        load(DataSource(path=tmp_path / "x.npz"))
    assert "max_bytes = 6400000000" in caught.value.next_step


def test_a_compressed_archive_within_the_limit_is_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((1000, 100)))
    assert (tmp_path / "x.npz").stat().st_size < 10_000
    with pytest.raises(DataError, match="800,000 bytes, more than max_bytes = 10,000"):
        load(DataSource(path=tmp_path / "x.npz", max_bytes=10_000))
    assert len(load(DataSource(path=tmp_path / "x.npz", max_bytes=800_000))) == 1000


def test_arrays_that_are_not_inputs_do_not_count(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((10, 2)), huge=np.zeros((1000, 100)))
    loaded = load(DataSource(path=tmp_path / "x.npz", input_names=("x",), max_bytes=10_000))
    assert any("huge" in note for note in loaded.notes)


def test_an_array_that_says_it_holds_more(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(header_of((10**6, 10**6)))
    with pytest.raises(DataError, match="the array has 8,000,000,000,000 bytes"):
        load(DataSource(path=tmp_path / "x.npy"))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_an_idx_file_that_says_it_holds_more(tmp_path: Path, suffix: str) -> None:
    content = struct.pack(">HBB3I", 0, 0x08, 3, 60_000, 60_000, 3)
    (tmp_path / f"x-ubyte{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    with pytest.raises(DataError, match="the array has 10,800,000,000 bytes"):
        load(DataSource(path=tmp_path / f"x-ubyte{suffix}"))


def test_more_in_gzip_than_the_header_says_is_not_unpacked(tmp_path: Path) -> None:
    content = struct.pack(">HBBI", 0, 0x08, 1, 10) + bytes(10**6)
    (tmp_path / "x.gz").write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match="more than 10 bytes of values"):
        load(DataSource(path=tmp_path / "x.gz", max_bytes=2000))


def test_a_table_that_unpacks_to_too_much_is_refused_by_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "UNPACKED_FIRST", 200_000)
    rows, path = b"0,0,0,0\n" * 100_000, tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(rows))
    with pytest.raises(DataError, match=r"unpacks to about .* more than max_bytes = 500,000") as caught:
        tables.read(path, max_bytes=500_000)
    assert "its first 200,000 bytes are packed" in caught.value.cause
    assert "--max-bytes" in caught.value.next_step
    assert len(tables.read(path, max_bytes=800_000).frame) == 100_000
    with pytest.raises(DataError, match="unpacks to has 800,000 bytes"):
        tables.read(path, max_bytes=799_999)


def test_tables_have_a_limit(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n" + "1,2\n" * 1000)
    with pytest.raises(DataError, match="the file has 4,004 bytes, more than max_bytes = 4,000"):
        load(DataSource(path=tmp_path / "t.csv", max_bytes=4000))
    pd.DataFrame({"a": np.zeros(100_000)}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="the table has 800,000 bytes"):
        load(DataSource(path=tmp_path / "t.parquet", max_bytes=100_000))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [">f4", "<f4", ">i8", "<u2"])
def test_arrays_of_every_byte_order_and_layout_are_the_same_samples(
    tmp_path: Path, dtype: str, order: str
) -> None:
    values = np.arange(24).reshape(4, 2, 3)
    np.savez(tmp_path / "x.npz", x=np.asarray(values, dtype, order=order), labels=np.arange(4).astype(">i4"))  # type: ignore[call-overload]
    loaded = load(DataSource(path=tmp_path / "x.npz"))
    assert loaded.inputs["x"].dtype.isnative
    assert loaded.inputs["x"].flags.c_contiguous
    np.testing.assert_array_equal(loaded.inputs["x"], values)
    assert loaded.labels is not None
    assert loaded.labels.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("missing", ["drop", 0.0, None])
def test_nan_in_arrays(tmp_path: Path, missing: str | float | None) -> None:
    x = np.arange(12, dtype=np.float32).reshape(6, 2)
    x[2, 1] = x[4, 0] = np.nan
    np.savez(tmp_path / "x.npz", x=x, labels=np.arange(6))
    source = DataSource(path=tmp_path / "x.npz", missing=missing)  # type: ignore[arg-type]
    if missing is None:
        with pytest.raises(
            DataError, match=r"sample 2 \(from 0\) is not finite: it has nan; 2 of 6 samples"
        ) as caught:
            load(source)
        assert 'missing = "drop"' in caught.value.next_step
        return
    loaded = load(source)
    assert loaded.notes
    assert loaded.ids.tolist() == ([0, 1, 3, 5] if missing == "drop" else [0, 1, 2, 3, 4, 5])
    np.testing.assert_array_equal(loaded.inputs["x"], np.nan_to_num(x)[loaded.ids])


def test_an_empty_archive(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz")
    with pytest.raises(DataError, match="no input arrays"):
        load(DataSource(path=tmp_path / "x.npz", input_names=("x",)))


def test_an_encrypted_archive(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros(3))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    for magic, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(magic) + offset] |= 1
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(DataError, match="encrypted"):
        load(DataSource(path=tmp_path / "x.npz"))
