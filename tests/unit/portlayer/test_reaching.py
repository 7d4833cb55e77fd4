"""What a database's failures are."""

import sqlalchemy as sa
from asyncpg.exceptions import InternalClientError

from portlayer.errors import Unavailable
from portlayer.reaching import domain_error


def test_a_connection_that_ends_while_a_statement_is_prepared_is_an_unavailable_database() -> None:
    said = Exception("cannot switch to state 12; another operation (2) is in progress")
    said.__cause__ = InternalClientError(str(said))
    failed = sa.exc.InternalError("SELECT 1", {}, said)
    assert isinstance(domain_error(failed), Unavailable)
    said.__cause__ = None
    assert domain_error(failed) is None
