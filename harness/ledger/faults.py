"""Decides what a database error means for the caller: try again, change something, or stop. Touches nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionInTime

from harness.core.errors import Broken, HarnessError, Refused, Retryable


class Taken(Broken):
    """An id, a position or a version is in the ledger already: the rest of the same append is, or it is damaged."""


@contextmanager
def explained(ledger: str, driver_error: type[Exception]) -> Iterator[None]:
    """Turns what the database raises inside into an error of the harness that names ``ledger``."""
    try:
        yield
    except DBAPIError as error:
        raise meaning(error.orig, ledger) from error
    except driver_error as error:
        raise meaning(error, ledger) from error
    except NoConnectionInTime as error:
        raise Retryable(f"ledger {ledger}: too many threads use it at once ({error})", retry_after_s=1.0) from error


def meaning(error: BaseException | None, ledger: str) -> HarnessError:
    """The harness's error for one of a driver's.

    Nothing of the transaction is recorded, unless a server was lost while it committed: the same ids tell.
    """
    where = f"ledger {ledger}: {str(error).strip()}"
    if isinstance(error, sqlite3.Error):
        return _meaning_of_sqlite(getattr(error, "sqlite_errorcode", None), where)
    return _meaning_of_postgresql(error, where)


def _meaning_of_sqlite(code: int | None, where: str) -> HarnessError:
    match None if code is None else code & 0xFF:  # the low byte is the kind, the rest is detail
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Retryable(f"{where}; another writer holds it, append again", retry_after_s=0.1)
        case sqlite3.SQLITE_FULL:
            return Retryable(f"{where}; free some space on its disk, then append again", retry_after_s=10.0)
        case sqlite3.SQLITE_IOERR:
            return Retryable(f"{where}; check its disk and quota, then append again", retry_after_s=10.0)
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_AUTH:
            return Refused(f"{where}; make the file and its folder readable and writable, or name another ledger")
        case sqlite3.SQLITE_CONSTRAINT:
            return Taken(where)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return Broken(f"{where}; the file is damaged or no ledger: keep it as it is and restore a copy")
        case _:
            return Broken(where)


def _meaning_of_postgresql(error: BaseException | None, where: str) -> HarnessError:
    from psycopg import Error, InterfaceError, OperationalError  # loaded by whoever has a ledger there

    state = error.sqlstate if isinstance(error, Error) else None
    if state is None:  # not a word from the server: there is no connection, or the fault is here
        return _unreachable(where) if isinstance(error, OperationalError | InterfaceError) else Broken(where)
    match state[:2], state:  # the first two characters are its class
        case "08", _:
            return _unreachable(where)
        case _, "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "25P04":
            # shut down, crashed, not up yet; ended while it did nothing, in a transaction or not, or took too long
            return _unreachable(where)
        case _, "57014":
            return Retryable(f"{where}; a timeout of the server or a person ended it, append again", retry_after_s=1.0)
        case _, "55P03" | "40001" | "40P01":  # no lock in time, serialization, deadlock
            return Retryable(f"{where}; another writer holds it, append again", retry_after_s=0.1)
        case _, "53100":
            return Retryable(f"{where}; free some space on the server's disk, then append again", retry_after_s=10.0)
        case "53", _:
            return Retryable(f"{where}; the server lacks memory or connections, append again", retry_after_s=1.0)
        case "58", _:
            return Retryable(f"{where}; check the server's disk and quota, then append again", retry_after_s=10.0)
        case _, "42501" | "25006":
            return Refused(f"{where}; grant the role what it needs, or name another ledger")
        case "23", _:
            return Taken(where)
        case "28" | "3D" | "3F", _:
            return Refused(f"{where}; make the role, the database and its schema, or name others")
        case _, "XX001" | "XX002":
            return Broken(f"{where}; the database is damaged: keep it as it is and restore a copy")
        case _:
            return Broken(where)


def _unreachable(where: str) -> Retryable:
    return Retryable(f"{where}; see that the server runs and is reached under this address", retry_after_s=1.0)
