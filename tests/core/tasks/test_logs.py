"""Logs: whatever bytes are written come back, exactly, across rotations and recoveries."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobyshell.core.clock import rfc3339
from mobyshell.core.tasks.logs import (
    LogReader,
    LogWriter,
    content,
    decode,
    encode,
    parse_stamp,
    segments,
    stamp,
    tail_position,
)

NOW = 1_764_060_000_123_456_789


def read_all(directory: str, position: int = 0) -> bytes:
    reader = LogReader(directory, position)
    try:
        found = b""
        while lines := reader.read(4096):
            found += b"".join(content(line) for line in lines)
        assert reader.lost == 0
        return found
    finally:
        reader.close()


@given(st.integers(0, 4_102_444_799_999_999_999))
def test_times_are_rfc3339_with_nanoseconds_and_come_back(time_ns: int) -> None:
    assert stamp(time_ns).decode() == rfc3339(time_ns)
    assert parse_stamp(stamp(time_ns)) == time_ns


@pytest.mark.parametrize("text", [b"", b"x" * 30, b"2026-11-25T08:32:30.00000000aZ", b"2026-1"])
def test_a_damaged_time_is_none(text: bytes) -> None:
    assert parse_stamp(text) is None
    assert decode(text + b" stdout F x") is None


@given(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=10))
def test_lines_strung_together_are_the_bytes_that_were_written(chunks: list[bytes]) -> None:
    log = b"".join(encode(chunk, "stdout", NOW) for chunk in chunks)
    assert log.endswith(b"\n")
    lines = [decode(raw) for raw in log[:-1].split(b"\n")]
    assert all(line is not None for line in lines)
    assert b"".join(content(line) for line in lines if line) == b"".join(chunks)


def test_a_line_is_in_cris_format() -> None:
    assert encode(b"one\ntwo", "stderr", NOW) == (
        b"2025-11-25T08:40:00.123456789Z stderr F one\n"
        b"2025-11-25T08:40:00.123456789Z stderr P two\n"
    )


def test_rotation_bounds_the_log_and_keeps_the_newest(tmp_path: Path) -> None:
    directory = str(tmp_path / "logs")
    writer = LogWriter(directory, segment_bytes=1000, keep=3)
    for number in range(200):
        writer.append(encode(b"%d\n" % number, "stdout", NOW))
    writer.close()
    found = segments(directory)
    assert len(found) == 3
    assert all(os.stat(f"{directory}/{one:020d}").st_size <= 1000 for one in found)
    numbers = [int(one) for one in read_all(directory, found[0]).split()]
    assert numbers == list(range(numbers[0], 200))
    assert len(numbers) > 40


def test_a_reader_goes_along_with_rotations(tmp_path: Path) -> None:
    directory = str(tmp_path / "logs")
    writer = LogWriter(directory, segment_bytes=300, keep=50)
    reader = LogReader(directory)
    got = []
    for number in range(100):
        writer.append(encode(b"%d\n" % number, "stdout", NOW + number))
        if number % 7 == 0:
            got += reader.read()
    while lines := reader.read():
        got += lines
    assert [int(line.data) for line in got] == list(range(100))
    assert [line.time_ns for line in got] == [NOW + number for number in range(100)]
    assert reader.position == writer.end
    assert reader.at_end()
    reader.close()
    writer.close()


def test_a_slow_reader_is_told_how_much_it_missed(tmp_path: Path) -> None:
    directory = str(tmp_path / "logs")
    writer = LogWriter(directory, segment_bytes=500, keep=2)
    reader = LogReader(directory)
    writer.append(encode(b"0\n", "stdout", NOW))
    assert [line.data for line in reader.read()] == [b"0"]
    at = reader.position
    for number in range(1, 100):
        writer.append(encode(b"%d\n" % number, "stdout", NOW))
    numbers = []
    while lines := reader.read():
        numbers += [int(line.data) for line in lines]
    oldest = segments(directory)[0]
    assert 0 < reader.lost <= oldest - at
    assert numbers[-1] == 99
    # what was still open at the time is read to its end; then comes the gap
    gap = next(place for place, number in enumerate(numbers) if number != place + 1)
    assert numbers[gap:] == list(range(numbers[gap], 100))
    reader.close()
    writer.close()


def test_a_line_longer_than_a_read_comes_whole(tmp_path: Path) -> None:
    directory = str(tmp_path / "logs")
    writer = LogWriter(directory)
    writer.append(encode(b"x" * 60_000, "stdout", NOW))
    reader = LogReader(directory)
    (line,) = reader.read(100)
    assert line.data == b"x" * 60_000
    assert line.partial
    reader.close()
    writer.close()


def test_a_half_written_line_is_not_read_until_it_is_whole(tmp_path: Path) -> None:
    directory = str(tmp_path / "logs")
    writer = LogWriter(directory)
    whole = encode(b"hello\n", "stdout", NOW)
    os.write(writer._fd, whole[:20])
    reader = LogReader(directory)
    assert reader.read() == []
    os.write(writer._fd, whole[20:])
    assert [line.data for line in reader.read()] == [b"hello"]
    reader.close()
    writer.close()


def test_cutting_takes_back_what_came_after(tmp_path: Path) -> None:
    directory = str(tmp_path / "logs")
    writer = LogWriter(directory)
    writer.append(encode(b"keep\n", "stdout", NOW))
    end = writer.end
    writer.append(encode(b"drop\n", "stdout", NOW))
    writer.cut(end)
    assert writer.end == end
    writer.append(encode(b"more\n", "stdout", NOW))
    writer.close()
    assert read_all(directory) == b"keep\nmore\n"


def test_a_writer_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    directory = str(tmp_path / "logs")
    for text in (b"one\n", b"two\n"):
        writer = LogWriter(directory)
        writer.append(encode(text, "stdout", NOW))
        writer.close()
    assert read_all(directory) == b"one\ntwo\n"


def test_a_full_disk_keeps_nothing_of_what_did_not_fit(tmp_path: Path) -> None:
    import resource
    import signal

    directory = str(tmp_path / "logs")
    writer = LogWriter(directory)
    writer.append(encode(b"first\n", "stdout", NOW))
    end = writer.end
    # RLIMIT_FSIZE makes write(2) short, then fail with EFBIG: the same as a disk that fills up
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (end + 100, before[1]))
        with pytest.raises(OSError, match="too large"):
            writer.append(encode(b"x" * 500 + b"\n", "stdout", NOW))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert writer.end == end
    writer.append(encode(b"second\n", "stdout", NOW))
    writer.close()
    assert read_all(directory) == b"first\nsecond\n"


@pytest.mark.parametrize("wanted", [0, 1, 2, 5, 30, 1000])
def test_tail_finds_the_last_lines_across_segments(tmp_path: Path, wanted: int) -> None:
    directory = str(tmp_path / "logs")
    writer = LogWriter(directory, segment_bytes=400, keep=100)
    for number in range(40):
        writer.append(encode(b"%d, in " % number, "stdout", NOW))
        writer.append(encode(b"two parts\n", "stdout", NOW))
    writer.close()
    found = read_all(directory, tail_position(directory, wanted)).splitlines()
    expected = [b"%d, in two parts" % number for number in range(40)]
    assert found == (expected[-wanted:] if wanted else [])


def test_tail_counts_an_unfinished_line(tmp_path: Path) -> None:
    directory = str(tmp_path / "logs")
    writer = LogWriter(directory)
    writer.append(encode(b"one\ntwo\nprompt> ", "stdout", NOW))
    writer.close()
    assert read_all(directory, tail_position(directory, 2)) == b"two\nprompt> "


def test_no_log_reads_as_nothing(tmp_path: Path) -> None:
    reader = LogReader(str(tmp_path / "none"))
    assert reader.read() == []
    assert tail_position(str(tmp_path / "none"), 3) == 0


def test_align_moves_on_to_the_next_line(tmp_path: Path) -> None:
    directory = str(tmp_path / "logs")
    writer = LogWriter(directory)
    writer.append(encode(b"one\ntwo\nthree\n", "stdout", NOW))
    writer.close()
    whole = len(encode(b"one\n", "stdout", NOW))
    for position, first in ((0, b"one"), (1, b"two"), (whole, b"two"), (whole + 1, b"three")):
        reader = LogReader(directory, position)
        reader.align()
        assert reader.read()[0].data == first
        reader.close()


def test_tail_reads_no_more_than_it_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = str(tmp_path / "logs")
    writer = LogWriter(directory)
    for number in range(20_000):
        writer.append(encode(b"line %d\n" % number, "stdout", NOW))
    writer.append(encode(b"x" * 300_000 + b"\n", "stdout", NOW))
    writer.append(encode(b"end\n", "stdout", NOW))
    writer.close()
    sizes: list[int] = []
    pread = os.pread

    def counted(fd: int, size: int, at: int) -> bytes:
        sizes.append(size)
        return pread(fd, size, at)

    monkeypatch.setattr(os, "pread", counted)
    assert read_all(directory, tail_position(directory, 1)) == b"end\n"
    assert sizes[0] <= 64 << 10
    sizes.clear()
    position = tail_position(directory, 3)
    assert sum(sizes) < 1 << 20
    assert read_all(directory, position) == b"line 19999\n" + b"x" * 300_000 + b"\nend\n"
    assert len(read_all(directory, tail_position(directory, 10**6)).splitlines()) == 20_002
