"""Many processes and threads on one database, and what happens to it when they die."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mobyshell.core.errors import StoreDamaged, TimedOut, Unsupported
from mobyshell.core.store import database
from mobyshell.core.store.connection import made_by
from mobyshell.core.store.database import Database
from mobyshell.core.store.root import StoreRoot
from mobyshell.core.store.schema import MIGRATIONS

INSERT = "INSERT INTO namespaces (name, created) VALUES (?, 0)"

WRITER = f"""
import sys
from pathlib import Path
from mobyshell.core.store import database
from mobyshell.core.store.database import Database
database = Database(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    name = f"{{sys.argv[2]}}-{{number}}"
    with database.write() as sql:
        # what a deferred transaction would fail at: first a read, then a write
        sql.execute("SELECT count(*) FROM namespaces").fetchone()
        sql.execute("{INSERT}", (name,))
    print(name, flush=True)
"""

HOLDER = """
import sys, time
from pathlib import Path
from mobyshell.core.store import database
from mobyshell.core.store.database import Database
with Database(Path(sys.argv[1])).write():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "meta.db"


def start(program: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *words], stdout=subprocess.PIPE, text=True
    )


def names(database: Database) -> set[str]:
    with database.read() as sql:
        return {str(row[0]) for row in sql.execute("SELECT name FROM namespaces")}


def test_a_transaction_that_fails_changes_nothing(place: Path) -> None:
    with Database(place) as database:
        with pytest.raises(sqlite3.IntegrityError), database.write() as sql:
            sql.executemany(INSERT, [("a",), ("b",), ("a",)])
        assert names(database) == set()


def test_a_transaction_within_another_is_a_part_of_it(place: Path) -> None:
    with Database(place) as database:

        def both() -> None:
            with database.write() as outer:
                with database.write() as inner:
                    inner.execute(INSERT, ("a",))
                outer.execute(INSERT, ("a",))

        with pytest.raises(sqlite3.IntegrityError):
            both()
        assert names(database) == set()


def test_what_is_for_afterwards_waits_for_the_outermost_commit(place: Path) -> None:
    done: list[str] = []
    with Database(place) as database:
        database.afterwards(lambda: done.append("at once"))
        with database.write():
            with database.write() as sql:
                sql.execute(INSERT, ("a",))
                database.afterwards(lambda: done.append(", ".join(names(database))))
            assert done == ["at once"]
        assert done == ["at once", "a"]

        def fail() -> None:
            with database.write():
                database.afterwards(lambda: done.append("never"))
                raise KeyError

        with pytest.raises(KeyError):
            fail()
        with database.write():
            pass
        assert done == ["at once", "a"]


def test_what_is_for_beforehand_comes_last_in_the_outermost_transaction(place: Path) -> None:
    done: list[str] = []

    def note() -> None:
        done.append("before")

    with Database(place) as database:
        with database.write():
            with database.write() as sql:
                sql.execute(INSERT, ("a",))
                database.beforehand(note)
            database.beforehand(note)
            assert done == []
        assert done == ["before"]
        with database.write():
            pass
        assert done == ["before"]

        def fail() -> None:
            with database.write() as sql:
                sql.execute(INSERT, ("b",))
                database.beforehand(lambda: 1 // 0)

        with pytest.raises(ZeroDivisionError):
            fail()
        assert names(database) == {"a"}


def syncs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are synced from now on by us; SQLite's own calls are not seen."""
    found: list[str] = []
    real = os.fdatasync

    def noted(fd: int) -> None:
        found.append(os.readlink(f"/proc/self/fd/{fd}"))
        real(fd)

    monkeypatch.setattr(os, "fdatasync", noted)
    return found


def test_a_step_waits_for_no_disk_and_what_follows_it_does(place: Path) -> None:
    with Database(place) as database:
        for durable, mode in ((True, 2), (False, 1), (False, 1), (True, 2)):
            with database.write(durable=durable) as sql:
                assert sql.execute("PRAGMA synchronous").fetchone() == (mode,)
                sql.execute(INSERT, (f"{durable} {mode} {os.urandom(4).hex()}",))
        assert len(names(database)) == 4


def test_a_step_with_something_durable_in_it_waits_for_the_disk(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = syncs(monkeypatch)
    with Database(place) as database:
        with database.write(), database.write(durable=False) as sql:
            sql.execute(INSERT, ("a",))
        assert found == []  # SQLite has done it
        with database.write(durable=False), database.write() as sql:
            sql.execute(INSERT, ("b",))
        assert found == [f"{place}-wal"]
        with database.write(durable=False) as sql:
            sql.execute(INSERT, ("c",))
        assert found == [f"{place}-wal"]


def test_files_go_after_the_log_is_on_the_disk(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = syncs(monkeypatch)
    seen: list[int] = []
    with Database(place) as database:
        for sure in (False, True):
            with database.write(durable=False) as sql:
                sql.execute(INSERT, (f"{sure}",))
                database.afterwards(lambda: seen.append(len(found)), sure=sure)
    assert seen == [0, 1]
    assert found == [f"{place}-wal"]


def test_a_write_within_a_read_is_a_fault_of_the_program(place: Path) -> None:
    with (
        Database(place) as database,
        database.read(),
        pytest.raises(RuntimeError),
        database.write(),
    ):
        pass


def test_threads_have_connections_of_their_own(place: Path) -> None:
    with Database(place) as database:

        def write(number: int) -> None:
            with database.write() as sql:
                sql.execute(INSERT, (f"thread-{number}",))

        threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(names(database)) == 8


def test_many_processes_write_and_none_is_refused(place: Path) -> None:
    writers = [start(WRITER, str(place), f"w{number}", "25") for number in range(6)]
    for writer in writers:
        writer.communicate(timeout=120)
    assert [writer.returncode for writer in writers] == [0] * 6
    with Database(place) as database:
        assert len(names(database)) == 6 * 25
        assert database.check() == []


def test_what_was_acknowledged_survives_a_kill(place: Path) -> None:
    acknowledged: set[str] = set()
    for round in range(6):
        writer = start(WRITER, str(place), f"r{round}", "100000")
        assert writer.stdout is not None
        for _ in range(5 + 7 * round):
            acknowledged.add(writer.stdout.readline().strip())
        writer.send_signal(signal.SIGKILL)
        acknowledged.update(writer.stdout.read().split())
        writer.wait()
        writer.stdout.close()
    with Database(place) as database:
        assert acknowledged <= names(database)
        assert database.check() == []


def test_who_holds_the_lock_for_too_long_is_named(place: Path) -> None:
    Database(place).close()
    holder = start(HOLDER, str(place))
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        with Database(place, patience=0.2) as database:
            assert names(database) == set()  # readers do not wait
            with pytest.raises(TimedOut, match=f"process {holder.pid}"), database.write():
                pass
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_the_version_tells_that_another_process_has_written(place: Path) -> None:
    with Database(place) as database:
        before = database.version()
        assert database.version() == before
        start(WRITER, str(place), "x", "1").communicate(timeout=60)
        assert database.version() != before


def test_a_long_log_is_moved_into_the_file(place: Path) -> None:
    with Database(place) as database:
        large = "x" * 300_000
        for number in range(40):
            with database.write() as sql:
                sql.execute(
                    "INSERT OR REPLACE INTO namespaces VALUES (?, ?, 0)", (f"{number}", large)
                )
        assert os.stat(f"{place}-wal").st_size < 8 << 20
        assert place.stat().st_size > 4 << 20


def test_after_that_it_is_short_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LONG_LOG", 256 << 10)
    log = place.with_name("meta.db-wal")
    with Database(place) as one:
        grown = []
        for number in range(400):
            with one.write() as sql:
                sql.execute(INSERT, (f"{number:04}{'x' * 3000}",))
            grown.append(log.stat().st_size)
        shrunk = sum(after < before for before, after in itertools.pairwise(grown))
        assert shrunk >= 2
        # else every commit would move it
        assert sum(size >= database.LONG_LOG for size in grown) <= shrunk + 1
        assert len(names(one)) == 400


def test_a_newer_schema_is_refused(place: Path) -> None:
    Database(place).close()
    raw = sqlite3.connect(place)
    raw.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    raw.close()
    with pytest.raises(Unsupported, match=f"version {len(MIGRATIONS) + 1}"):
        Database(place)


def test_a_database_of_another_program_is_left_alone(place: Path) -> None:
    raw = sqlite3.connect(place)
    raw.execute("CREATE TABLE songs (title TEXT)")
    raw.commit()
    raw.close()
    before = place.read_bytes()
    with pytest.raises(StoreDamaged, match="not mobyshell's"):
        Database(place)
    raw = sqlite3.connect(place)
    assert raw.execute("SELECT name FROM sqlite_schema").fetchall() == [("songs",)]
    raw.close()
    assert place.read_bytes() == before


def test_what_is_no_database_is_said_to_be_damaged(place: Path) -> None:
    place.write_bytes(b"something else, longer than a page's header\n" * 100)
    with pytest.raises(StoreDamaged, match=r"meta\.db"):
        Database(place)


def test_only_the_owner_may_read_it(place: Path) -> None:
    with Database(place):
        assert place.stat().st_mode & 0o777 == 0o600


def test_a_store_is_closed_to_others(tmp_path: Path) -> None:
    root = StoreRoot(tmp_path / "store")
    root.make()
    assert {path.stat().st_mode & 0o777 for path in (root.path, root.blobs, root.snapshots)} == {
        0o700
    }
    root.path.chmod(0o755)
    root.make()
    assert root.path.stat().st_mode & 0o777 == 0o700


def test_a_thread_that_connects_takes_no_locks_from_the_others(place: Path) -> None:
    """POSIX locks are gone when a process closes any descriptor of the file (fcntl(2)): then the
    next process to leave takes itself for the last, and removes the log under our feet."""
    with Database(place) as database:
        assert names(database) == set()
        other = threading.Thread(target=lambda: names(database))
        other.start()
        other.join(60)
        for number in range(3):
            writer = start(WRITER, str(place), f"w{number}", "1")
            assert writer.communicate(timeout=60)[0] == f"w{number}-0\n"
            assert f"w{number}-0" in names(database)
        assert Path(f"{place}-wal").exists()


def test_threads_that_have_ended_leave_no_connection_open(tmp_path: Path) -> None:
    def opened() -> int:
        links = (os.path.join("/proc/self/fd", one) for one in os.listdir("/proc/self/fd"))
        return sum(str(tmp_path) in os.readlink(one) for one in links if os.path.lexists(one))

    with Database(tmp_path / "db") as database:

        def read() -> None:
            with database.read() as sql:
                sql.execute("SELECT count(*) FROM namespaces").fetchone()

        for _ in range(30):
            thread = threading.Thread(target=read)
            thread.start()
            thread.join()
        assert opened() < 12  # the main thread's, the last one's
        read()


def test_a_database_in_the_making_is_no_strangers(place: Path) -> None:
    """What another process does between any two of the looks at a new file."""
    with sqlite3.connect(place) as sql:
        looks: list[str] = []
        sql.set_trace_callback(looks.append)
        made_by(sql, place)
    sql.close()
    for moment in range(len(looks)):
        other = place.with_name(f"{moment}.db")
        sql = sqlite3.connect(other, isolation_level=None)
        left = [moment]

        def made(_: str, other: Path = other, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == -1:
                Database(other).close()

        sql.set_trace_callback(made)
        assert made_by(sql, other) in (0, len(MIGRATIONS))
        sql.close()
