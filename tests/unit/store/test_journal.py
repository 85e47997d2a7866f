"""A damaged journal is read as far as it goes, and what cannot be used is named."""

from __future__ import annotations

import errno
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.core.cause import Cause
from harness.core.errors import StoreError
from harness.core.job import EnvironmentRecord, JobKey, JobResult, Part, Samples, Status
from harness.store import journal
from harness.store.journal import FILE, Entries, Journal, named, npy_bytes

KEYS = [JobKey("cpu", "null", "deploy", "float32", "accuracy", name, 0) for name in "abc"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three results and the state of the machine."""
    return written(tmp_path)


def written(folder: Path) -> Path:
    with Journal(folder) as stored:
        stored.append(EnvironmentRecord("cpu", "null", "float32", "accuracy", "before", {"load_1min": 0.5}))
        for number, key in enumerate(KEYS):
            stored.append(
                JobResult(key, Status.OK, samples=Samples({"x": np.full(2, number)}, {"i": number}))
            )
    return folder


def lines(folder: Path) -> list[bytes]:
    return (folder / FILE).read_bytes().splitlines()


def rewrite(folder: Path, number: int, **changes: Any) -> None:
    """Change a line and give it the checksum of its new content: what another version may have written."""
    content = lines(folder)
    body = {**json.loads(content[number])["body"], **changes}
    text = json.dumps(body)
    content[number] = f'{{"crc32": "{zlib.crc32(text.encode()):08x}", "body": {text}}}'.encode()
    (folder / FILE).write_bytes(b"\n".join([*content, b""]))


def test_a_whole_journal_has_no_damage(folder: Path) -> None:
    entries = journal.read(folder)
    assert list(entries.results) == KEYS
    assert len(entries.environments) == 1
    assert not entries.damaged
    assert journal.read(folder / "empty") == Entries()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"key": ["cpu", "null"]}, "the key is not that of a job"),
        ({"key": ["../x", *KEYS[1][1:]]}, "the key is not that of a job"),
        ({"key": ["..", *KEYS[1][1:]]}, "the key is not that of a job"),
        ({"status": "GREAT"}, "GREAT"),
        ({"arrays": {"x": "../../secret"}}, "names no array"),
        ({"arrays": {"x": "0" * 64}}, "the array 00000000 cannot be read"),
        ({"arrays": 5}, "a field is missing or wrong"),
        ({"values": [1]}, "values or effective is no JSON object"),
        ({"values": {"n": 10**30}}, "more than 64 bits"),
        ({"duration_ns": float("nan")}, "duration_ns or host_ns is no count"),
        ({"host_ns": -1}, "duration_ns or host_ns is no count"),
        ({"type": "surprise"}, "a field is missing or wrong"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_and_its_job_has_no_result(
    folder: Path, changes: dict[str, Any], says: str
) -> None:
    rewrite(folder, 2, **changes)
    entries = journal.read(folder)
    assert list(entries.results) == [KEYS[0], KEYS[2]]
    (damage,) = entries.damaged
    assert damage.startswith(f"line 3 of {FILE}")
    assert says in damage
    if "key" not in changes:
        assert "accuracy b of float32 (deploy) on cpu/null" in damage


def test_a_state_of_the_machine_that_cannot_be_used_is_named(folder: Path) -> None:
    rewrite(folder, 0, facts={"scheduling": "none"})
    entries = journal.read(folder)
    assert not entries.environments
    assert entries.damaged == [
        f"line 1 of {FILE} cannot be used: facts.scheduling is 'none', not counts by name"
    ]


def test_a_changed_bit_is_named_with_its_job(folder: Path) -> None:
    content = lines(folder)
    content[1] = content[1].replace(b'"duration_ns": 0', b'"duration_ns": 7')
    (folder / FILE).write_bytes(b"\n".join([*content, b""]))
    entries = journal.read(folder)
    assert entries.damaged == [
        f"line 2 of {FILE}, the result of {named(KEYS[0])}, cannot be used: its checksum does not fit"
    ]


def test_what_was_measured_again_is_not_named(folder: Path) -> None:
    for path in (folder / "cpu" / "samples").iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    assert len(journal.read(folder).damaged) == 3
    written(folder)
    assert list(journal.read(folder).results) == KEYS
    assert not journal.read(folder).damaged


def test_texts_of_earlier_versions_are_made_storable(folder: Path) -> None:
    rewrite(folder, 1, reason="\udc80 bad", raw="\ud800", values={"\ud800": "\ud801"})
    result = journal.read(folder).results[KEYS[0]]
    for text in (result.reason, result.raw, *result.samples.values, *result.samples.values.values()):
        text.encode()


def test_cut_at_any_byte_whole_lines_count_and_nothing_is_damaged(folder: Path) -> None:
    content = (folder / FILE).read_bytes()
    ends = [i for i, byte in enumerate(content) if byte == 10]
    for length in range(len(content) + 1):
        (folder / FILE).write_bytes(content[:length])
        entries = journal.read(folder)
        assert len(entries.results) + len(entries.environments) == sum(end <= length for end in ends)
        assert not entries.damaged


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_read(folder: Path, data: st.DataObject) -> None:
    whole = (folder / FILE).read_bytes()
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content) - 1))
        stop = data.draw(st.integers(start, min(start + 20, len(content))))
        content[start:stop] = data.draw(st.binary(max_size=20))
        if not content:
            break
    (folder / FILE).write_bytes(bytes(content))
    try:
        entries = journal.read(folder)
    finally:
        (folder / FILE).write_bytes(whole)
    assert set(entries.results) <= set(KEYS)


def test_arrays_are_written_as_numpy_reads_them(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(npy_bytes(np.arange(3)))
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), np.arange(3))


def part(number: int, *, key: JobKey = KEYS[0], columns: int = 2) -> Part:
    return Part(key, Samples({"slices": np.full((1, columns), number, np.float64)}, {"last": number}))


def numbers(folder: Path) -> list[float]:
    """The parts that the journal holds."""
    return [float(row[0]) for row in journal.read(folder).parts[KEYS[0]].arrays["slices"]]


def test_parts_are_there_until_a_result_has_them(tmp_path: Path) -> None:
    with Journal(tmp_path) as stored:
        for number in range(3):
            stored.append(part(number))
    assert not journal.read(tmp_path).results
    assert numbers(tmp_path) == [0, 1, 2]
    with Journal(tmp_path) as stored:
        stored.append(JobResult(KEYS[0], Status.ERROR, "ended by SIGKILL", cause=Cause.WORKER_FAILED))
        stored.append(part(3))
    assert numbers(tmp_path) == [3]
    with Journal(tmp_path) as stored:
        stored.append(JobResult(KEYS[0], Status.OK))
    assert not journal.read(tmp_path).parts


@given(cut=st.floats(0, 1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=15)
def test_a_kill_at_any_byte_loses_the_last_part_at_most(tmp_path: Path, cut: float) -> None:
    (tmp_path / FILE).unlink(missing_ok=True)
    with Journal(tmp_path) as stored:
        for number in range(3):
            stored.append(part(number))
    content = (tmp_path / FILE).read_bytes()
    size = int(cut * len(content))
    (tmp_path / FILE).write_bytes(content[:size])
    whole = content[:size].count(b"\n")
    with Journal(tmp_path) as stored:  # it is continued
        stored.append(part(9))
    assert numbers(tmp_path) == [*range(whole), 9]
    assert not journal.read(tmp_path).damaged


def test_a_part_that_cannot_be_used_is_named_and_the_others_count(tmp_path: Path) -> None:
    with Journal(tmp_path) as stored:
        for number in range(3):
            stored.append(part(number))
    rewrite(tmp_path, 1, values=[])
    assert numbers(tmp_path) == [0, 2]
    (damage,) = journal.read(tmp_path).damaged
    assert damage.startswith("line 2 of journal.jsonl, a part of accuracy a of float32")


def test_parts_that_do_not_fit_each_other_are_damage(tmp_path: Path) -> None:
    with Journal(tmp_path) as stored:
        stored.append(part(0))
        stored.append(part(1, columns=3))
    entries = journal.read(tmp_path)
    assert not entries.parts
    assert "do not fit each other" in entries.damaged[0]


def test_a_full_disk_ends_with_its_cause_and_keeps_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Journal(tmp_path) as stored:
        stored.append(part(0))
        monkeypatch.setattr(stored, "_stream", _Filling(stored._stream))
        with pytest.raises(StoreError) as refused:
            stored.append(part(1))
    assert refused.value.cause == "the disk is full"
    assert "--resume" in refused.value.next_step
    with Journal(tmp_path) as stored:
        stored.append(part(2))
    assert numbers(tmp_path) == [0, 2]


class _Filling:
    """Takes ten bytes, and then there is no room."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._written = stream, False

    def write(self, line: bytes) -> int:
        if self._written:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._written = True
        return int(self._stream.write(bytes(line)[:10]))

    def close(self) -> None:
        self._stream.close()
