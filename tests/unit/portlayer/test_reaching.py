"""Which failures of PostgreSQL's are its state, and which are faults."""

import asyncpg
import pytest
import sqlalchemy as sa

from portlayer.errors import Reason, ResourceExhausted, Unavailable
from portlayer.reaching import domain_error, reaching


class DriversError(Exception):
    """As SQLAlchemy has asyncpg's errors."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__("it says why")
        self.sqlstate = sqlstate


def wrapped(sqlstate: str) -> Exception:
    return sa.exc.DBAPIError("SELECT 1", {}, DriversError(sqlstate))


@pytest.mark.parametrize(
    "error",
    [
        *map(wrapped, ("57P01", "57P02", "57P03", "53300", "08003", "08006")),
        asyncpg.CannotConnectNowError("it says why"),
        asyncpg.TooManyConnectionsError("it says why"),
        asyncpg.ConnectionDoesNotExistError("it says why"),
        asyncpg.InterfaceError("it says why"),
        ConnectionRefusedError("it says why"),
        sa.exc.TimeoutError("it says why"),
    ],
)
def test_a_database_that_is_away_is_told_as_such(error: Exception) -> None:
    found = domain_error(error)
    assert isinstance(found, Unavailable)
    assert "it says why" in found.message


def test_a_full_disk_is_told_as_such() -> None:
    found = domain_error(wrapped("53100"))
    assert isinstance(found, ResourceExhausted)
    assert found.reason is Reason.STORE_FULL


@pytest.mark.parametrize("error", [wrapped("42601"), wrapped("23505"), ValueError("mine")])
def test_a_fault_stays_what_it_is(error: Exception) -> None:
    assert domain_error(error) is None
    with pytest.raises(type(error)), reaching():
        raise error


def test_what_the_system_refuses_on_the_way_is_the_databases_state() -> None:
    error = FileNotFoundError("no such socket")
    assert domain_error(error) is None
    with pytest.raises(Unavailable, match="no such socket"), reaching():
        raise error


def test_a_connection_that_ends_while_a_statement_is_prepared_is_a_database_that_is_away() -> None:
    said = Exception("it says why")
    said.__cause__ = asyncpg.InternalClientError("cannot switch to state 12")
    failed = sa.exc.InternalError("SELECT 1", {}, said)
    assert isinstance(domain_error(failed), Unavailable)
    said.__cause__ = None
    assert domain_error(failed) is None
