"""What the cache takes, and what is deleted first."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from harness.core.errors import UsageError
from harness.store import cache_space
from harness.store.cache import Cache

DAY_S = 24 * 3600


def filled(folder: Path, days: dict[str, float]) -> Cache:
    """A cache with an array of 1,000 bytes or a little more for each name, last used so many days ago."""
    cache = Cache(folder)
    for number, (name, ago) in enumerate(days.items()):
        digest = cache.put_array(np.full(1000, number, np.uint8))
        path = cache.array_path(digest)
        path.rename(path.with_stem(name))
        used_s = time.time() - ago * DAY_S
        os.utime(path.with_stem(name), (used_s, used_s))
    return cache


def names(folder: Path) -> set[str]:
    return {path.stem for path in (folder / "data").iterdir()}


def test_the_least_recently_used_go_first_and_what_was_used_today_stays(tmp_path: Path) -> None:
    filled(tmp_path, {"old": 5, "older": 9, "today": 0.2, "now": 0})
    assert cache_space.bound(tmp_path, 10_000) == 0
    size = next((tmp_path / "data").iterdir()).stat().st_size
    assert cache_space.bound(tmp_path, 3 * size) == size
    assert names(tmp_path) == {"old", "today", "now"}
    assert cache_space.bound(tmp_path, 0) == size
    assert names(tmp_path) == {"today", "now"}


def test_an_artifact_is_evicted_whole(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    folder = cache.put_artifact("a" * 64, {"model.onnx": b"x" * 700, "weights/w.bin": b"y" * 300})
    used_s = time.time() - 3 * DAY_S
    os.utime(folder, (used_s, used_s))
    (space,) = cache_space.spaces(tmp_path)
    assert (space.kind, space.entries, space.size_byte) == ("artifacts", 1, 1000)
    assert space.oldest_s == pytest.approx(3 * DAY_S, abs=60)
    assert cache_space.bound(tmp_path, 999) == 1000
    assert not folder.exists()


def test_an_array_that_is_asked_for_is_used(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    digest = cache.put_array(np.arange(5))
    os.utime(cache.array_path(digest), (0, 0))
    assert cache.has_array(digest)
    assert cache_space.bound(tmp_path, 0) == 0
    assert cache.array_path(digest).is_file()


def test_a_kind_is_cleared_and_the_others_stay(tmp_path: Path) -> None:
    cache = filled(tmp_path, {"one": 0})
    cache.note("k" * 64, {"a": 1})
    assert cache_space.clear(tmp_path, ["data", "bundles"]) > 1000
    assert [space.kind for space in cache_space.spaces(tmp_path)] == ["index"]


@pytest.mark.parametrize(("text", "size"), [("20GB", 20 * 10**9), ("1.5 tb", 15 * 10**11), ("", 20 * 10**9)])
def test_a_size_is_a_number_and_a_unit(text: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache_space.VARIABLE, text)
    assert cache_space.most_byte() == size


@pytest.mark.parametrize("text", ["20", "GB", "-1GB", "20 GiB", "nanGB"])
def test_another_text_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache_space.VARIABLE, text)
    with pytest.raises(UsageError, match="is not a size"):
        cache_space.most_byte()
