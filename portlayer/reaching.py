"""What PostgreSQL, or the way to it, can't do for the moment, as domain errors.

Source: PostgreSQL 15, appendix A, PostgreSQL Error Codes.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from portlayer.errors import Reason, ResourceExhausted, Unavailable, VicError

# Connection exceptions, insufficient resources (as connections), and shutdown, crash and start. To
# SQLAlchemy those of asyncpg's are but errors of the driver's.
_AWAY = ("08", "53", "57P")
_DISK_FULL = "53100"


def domain_error(error: Exception) -> VicError | None:
    """Return what a failure is where it is the database's state; None for a fault of another kind.

    An error of asyncpg's own comes from connecting and listening alone. It is told by its module:
    who is on SQLite loads no asyncpg.
    """
    cause = getattr(error, "orig", None) or error
    state = str(getattr(cause, "sqlstate", None) or "")
    if state == _DISK_FULL:
        message = "no space left on device for the database"
        return ResourceExhausted(message, Reason.STORE_FULL)
    if (
        isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)
        or (isinstance(error, sa.exc.DBAPIError) and state.startswith(_AWAY))
        or type(error).__module__.partition(".")[0] == "asyncpg"
        # The connection ended between a statement's preparation and the statement itself.
        or type(getattr(cause, "__cause__", None)).__name__ == "InternalClientError"
    ):
        return Unavailable(f"the database failed: {cause}")
    if isinstance(error, sa.exc.TimeoutError | ConnectionError):
        return Unavailable(f"the database can't be reached: {error}")
    return None


@contextmanager
def reaching() -> Iterator[None]:
    """Raise domain errors for what goes wrong on the way to a database, such as a missing socket.

    For what does nothing but that: whatever the system refuses is taken for the database's.
    """
    try:
        yield
    except Exception as error:
        found = domain_error(error)
        if found is None and isinstance(error, OSError):
            found = Unavailable(f"the database can't be reached: {error}")
        if found is None:
            raise
        raise found from error
