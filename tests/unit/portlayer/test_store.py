"""The store brings a schema up to date, and transactions hold under concurrency."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from portlayer import sqlite
from portlayer.errors import Reason, ResourceExhausted
from portlayer.store import open_store

MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {down}

def upgrade() -> None:
    {body}
"""


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    """A facet's migrations with one step."""
    versions = tmp_path / "migrations" / "versions"
    versions.mkdir(parents=True)
    body = 'op.create_table("counter", sa.Column("value", sa.Integer, nullable=False))'
    (versions / "0001.py").write_text(MIGRATION.format(revision="0001", down=None, body=body))
    return versions.parent


async def test_migrations_are_applied_once_and_continued(migrations: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/test.db"
    store = await open_store(url, migrations)
    async with store.transaction() as connection:
        await connection.execute(sa.text("insert into counter values (41)"))
    await store.close()
    body = 'op.execute("update counter set value = value + 1")'
    (migrations / "versions" / "0002.py").write_text(
        MIGRATION.format(revision="0002", down='"0001"', body=body)
    )
    for _ in range(2):
        store = await open_store(url, migrations)
        async with store.transaction() as connection:
            assert (await connection.execute(sa.text("select value from counter"))).scalar() == 42
        await store.close()


async def test_concurrent_read_then_write_loses_nothing(migrations: Path, tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/test.db", migrations)
    async with store.transaction() as connection:
        await connection.execute(sa.text("insert into counter values (0)"))

    async def increment() -> None:
        async with store.transaction() as connection:
            value = (await connection.execute(sa.text("select value from counter"))).scalar_one()
            await connection.execute(sa.text("update counter set value = :v"), {"v": value + 1})

    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(increment())
    async with store.transaction() as connection:
        assert (await connection.execute(sa.text("select value from counter"))).scalar() == 20
    await store.close()


async def test_a_failed_transaction_leaves_nothing(migrations: Path, tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/test.db", migrations)
    with pytest.raises(ZeroDivisionError):
        async with store.transaction() as connection:
            await connection.execute(sa.text("insert into counter values (1)"))
            raise ZeroDivisionError
    async with store.transaction() as connection:
        assert (await connection.execute(sa.text("select count(*) from counter"))).scalar() == 0
    await store.close()


async def test_a_cancelled_transaction_keeps_nobody_out(migrations: Path, tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/test.db", migrations)

    async def insert() -> None:
        async with store.transaction() as connection:
            await connection.execute(sa.text("insert into counter values (1)"))

    # Held up at the write lock, where a cancellation once left a thread that took it for ever.
    async with store.transaction():
        held_up = [asyncio.create_task(insert()) for _ in range(3)]
        await asyncio.wait(held_up, timeout=0.2)
        for task in held_up:
            task.cancel()
    outcomes = await asyncio.gather(*held_up, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    async with asyncio.timeout(60):
        await insert()
    await store.close()


async def test_a_timeout_around_a_transaction_is_a_timeout(
    migrations: Path, tmp_path: Path
) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/test.db", migrations)

    async def late() -> None:
        async with asyncio.timeout(0.1), store.transaction() as connection:
            await connection.execute(sa.text("insert into counter values (1)"))

    async with store.transaction():
        waiting = asyncio.create_task(late())
        await asyncio.wait({waiting}, timeout=0.3)
    with pytest.raises(TimeoutError):
        await waiting
    await store.close()


async def test_a_reader_waits_for_no_writer(migrations: Path, tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/test.db", migrations)
    query = sa.text("select count(*) from counter")
    async with store.transaction() as writer:
        await writer.execute(sa.text("insert into counter values (1)"))
        async with asyncio.timeout(60), store.reading() as reader:
            assert (await reader.execute(query)).scalar() == 0
    async with store.reading() as reader:
        assert (await reader.execute(query)).scalar() == 1
    await store.close()


async def test_a_lock_of_another_process_holds_up_nobody_else(
    migrations: Path, tmp_path: Path
) -> None:
    path = tmp_path / "test.db"
    store = await open_store(f"sqlite:///{path}", migrations)

    async def write() -> None:
        async with store.transaction() as connection:
            await connection.execute(sa.text("insert into counter values (1)"))

    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin immediate")
        writing = asyncio.create_task(write())
        # Others have their turn again and again, the lock's holder among them.
        for _ in range(100):
            async with store.reading() as reader:
                query = sa.text("select count(*) from counter")
                assert (await reader.execute(query)).scalar() == 0
            await asyncio.sleep(0)
        assert not writing.done()
        other.execute("commit")
    async with asyncio.timeout(60):
        await writing
    await store.close()


async def test_writers_are_served_in_their_order(migrations: Path, tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/test.db", migrations)
    served: list[int] = []

    async def write(number: int) -> None:
        async with store.transaction():
            served.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(write(number))
    assert served == list(range(50))
    await store.close()


async def test_a_full_disk_is_a_domain_error(migrations: Path, tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/test.db", migrations)
    with pytest.raises(ResourceExhausted) as caught:
        async with store.transaction() as connection:
            await connection.execute(sa.text("pragma max_page_count = 1"))
            await connection.execute(sa.text("create table big as select zeroblob(100000)"))
    assert caught.value.reason is Reason.STORE_FULL
    await store.close()


async def test_a_wrong_statement_stays_a_fault(migrations: Path, tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/test.db", migrations)
    with pytest.raises(sa.exc.OperationalError):
        async with store.transaction() as connection:
            await connection.execute(sa.text("select * from missing"))
    await store.close()


async def test_a_store_closes_after_the_transactions_in_hand(
    migrations: Path, tmp_path: Path
) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/test.db", migrations)
    async with store.reading(), store.transaction():
        closing = asyncio.create_task(store.close())
        done, _ = await asyncio.wait({closing}, timeout=0.05)
        assert not done
    async with asyncio.timeout(60):
        await closing


async def test_a_result_is_not_read_on_after_its_transaction(
    migrations: Path, tmp_path: Path
) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/test.db", migrations)
    async with store.transaction() as connection:
        await connection.execute(sa.text("insert into counter values (1), (2)"))
        result = await connection.execute(sa.text("select value from counter"))
        assert result.fetchone() == (1,)
    with pytest.raises(sa.exc.ResourceClosedError):
        result.fetchone()
    await store.close()


async def test_the_log_of_many_transactions_stays_short(
    migrations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "CHECKPOINT_AFTER", 10)
    store = await open_store(f"sqlite:///{tmp_path}/test.db", migrations)
    log = tmp_path / "test.db-wal"
    size, grows, transactions = 0, True, 0
    while grows:
        async with store.transaction() as connection:
            await connection.execute(sa.text("insert into counter values (1)"))
        # Where the event loop never waits, the checkpoint's thread has no turn either.
        await asyncio.to_thread(lambda: None)
        grows, size = log.stat().st_size > size, log.stat().st_size
        transactions += 1
        assert transactions < 2000
    await store.close()
    assert not log.exists()
