"""A damaged journal is read as far as it goes, and what cannot be used is named."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.core.job import EnvironmentRecord, JobKey, JobResult, Samples, Status
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
