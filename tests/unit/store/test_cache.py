"""The cache holds whole entries or none, and says what is wrong when it cannot."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from harness.core.artifact import sha256_file
from harness.core.errors import StoreError
from harness.store.cache import Cache, key_of, write_atomically, writing


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, min_side=0)))
def test_an_array_lies_under_the_hash_of_its_file(
    tmp_path_factory: pytest.TempPathFactory, array: NDArray[np.generic]
) -> None:
    cache = Cache(tmp_path_factory.mktemp("cache"))
    digest = cache.put_array(array)
    assert sha256_file(cache.array_path(digest)) == digest
    assert cache.has_array(digest)
    loaded = np.load(cache.array_path(digest), allow_pickle=False)
    assert (loaded.dtype, loaded.shape, loaded.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert cache.put_array(array) == digest
    assert len(names(cache.folder)) == 1


def test_a_damaged_array_is_not_had(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    digest = cache.put_array(np.arange(5))
    cache.array_path(digest).write_bytes(b"")
    assert not cache.has_array(digest)
    assert not cache.has_array("0" * 64)


def test_objects_are_never_pickled(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Object arrays"):
        Cache(tmp_path).put_array(np.array([{}], dtype=object))
    assert names(tmp_path) == set()


def test_notes(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert cache.recall("a") is None
    cache.note("a", {"x": [1, None]})
    cache.note("a", {"x": 2})
    assert cache.recall("a") == {"x": 2}
    for damage in (b"", b"[1]", b'{"x"', b"\xff"):
        (tmp_path / "index" / "a.json").write_bytes(damage)
        assert cache.recall("a") is None


def test_keys_do_not_depend_on_order() -> None:
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert key_of({"a": 1}) != key_of({"a": "1"})


def test_artifacts(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    (tmp_path / "given.bin").write_bytes(b"weights")
    folder = cache.put_artifact("00", {"m.onnx": b"model", "deep/w.bin": tmp_path / "given.bin"})
    assert names(folder) == {"m.onnx", "deep/w.bin"}
    assert (folder / "deep" / "w.bin").read_bytes() == b"weights"
    assert cache.put_artifact("00", {"m.onnx": b"other"}) == folder  # it is addressed by its content
    assert (folder / "m.onnx").read_bytes() == b"model"
    cache.drop_artifact("00")
    assert not folder.exists()
    cache.drop_artifact("00")


@pytest.mark.parametrize("what", ["file", "artifact"])
def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    (tmp_path / "file").write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)

    def write() -> None:
        if what == "file":
            write_atomically(tmp_path / "file", b"new")
        else:
            Cache(tmp_path).put_artifact("00", {"m": b"model"})

    with pytest.raises(StoreError, match="cannot write") as caught, writing(tmp_path):
        write()
    assert "the disk is full" in str(caught.value)
    assert names(tmp_path) == {"file"}
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "quota"), (errno.EROFS, "read-only"),
        (errno.EACCES, "you may not write there"), (errno.EFBIG, "ulimit -f"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)  # fmt: skip
def test_why_it_cannot_write(tmp_path: Path, number: int, says: str) -> None:
    with pytest.raises(StoreError) as caught, writing(tmp_path):
        raise OSError(number, os.strerror(number), "the file")
    assert says in str(caught.value)
    assert caught.value.what == "cannot write the file"
    assert caught.value.exit_code == 3
    assert caught.value.next_step


def _die_in_the_middle(folder: Path) -> None:
    cache = Cache(folder)
    rename = Path.replace

    def replace(self: Path, target: Path) -> Path:
        os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, target)

    Path.replace = replace  # type: ignore[method-assign]
    cache.put_array(np.arange(5))


def test_a_process_that_is_killed_leaves_no_entry(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_die_in_the_middle, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert all(path.name.startswith(".tmp-") for path in (tmp_path / "data").iterdir())
    digest = Cache(tmp_path).put_array(np.arange(5))
    assert Cache(tmp_path).has_array(digest)


def _put(folder: Path) -> None:
    for value in range(20):
        Cache(folder).put_array(np.full(1000, value))
        Cache(folder).put_artifact(str(value), {"m": bytes(1000)})


def test_two_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_put, args=(tmp_path,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    cache = Cache(tmp_path)
    files = list((tmp_path / "data").iterdir())
    assert len(files) == 20
    assert all(cache.has_array(path.stem) for path in files)
    assert len(list((tmp_path / "artifacts").iterdir())) == 20


def test_same_bytes_under_two_names_are_both_there(tmp_path: Path) -> None:
    """A copy of the bundled model under another name: its hash is known, its name is not."""
    cache, content = Cache(tmp_path / "cache"), b"model"
    sha256 = hashlib.sha256(content).hexdigest()
    mine = tmp_path / "mine.onnx"
    mine.write_bytes(content)
    folder = cache.put_artifact(sha256, {"model.onnx": content, "lineage.json": b"first"})
    assert cache.put_artifact(sha256, {"deep/mine.onnx": mine, "lineage.json": b"second"}) == folder
    contents = {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    assert contents == {"model.onnx": content, "deep/mine.onnx": content, "lineage.json": b"first"}
    assert list(folder.parent.iterdir()) == [folder], "nothing temporary is left"


def test_what_is_forgotten_is_not_recalled_and_may_be_forgotten_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.note("k", {"a": 1})
    cache.forget("k")
    assert cache.recall("k") is None
    cache.forget("k")


def test_external_data_may_lie_deeper_also_where_another_process_was_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    folder = cache.put_artifact("0" * 64, {"model.onnx": b"m"})
    assert cache.put_artifact("0" * 64, {"a/b/weights.bin": b"w", "a/b/more.bin": b"v"}) == folder
    assert (folder / "a" / "b" / "weights.bin").read_bytes() == b"w"
    assert (folder / "a" / "b" / "more.bin").read_bytes() == b"v"
    assert (folder / "model.onnx").read_bytes() == b"m"
