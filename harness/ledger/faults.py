"""Decides what a database error means for the caller: try again, change something, or stop. Touches nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionInTime

from harness.core.errors import Broken, HarnessError, Refused, Retryable


@contextmanager
def explained(ledger: str) -> Iterator[None]:
    """Turns what the database raises inside into an error of the harness that names ``ledger``."""
    try:
        yield
    except DBAPIError as error:
        raise meaning(error.orig, ledger) from error
    except sqlite3.Error as error:
        raise meaning(error, ledger) from error
    except NoConnectionInTime as error:
        raise Retryable(f"ledger {ledger}: too many threads use it at once ({error})", retry_after_s=1.0) from error


def meaning(error: BaseException | None, ledger: str) -> HarnessError:
    """The harness's error for one of SQLite's. After each of them nothing of the transaction is recorded."""
    code = getattr(error, "sqlite_errorcode", None)
    where = f"ledger {ledger}: {error}"
    match None if code is None else code & 0xFF:  # the low byte is the kind, the rest is detail
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Retryable(f"{where}; another writer holds it, append again", retry_after_s=0.1)
        case sqlite3.SQLITE_FULL:
            return Retryable(f"{where}; free some space on its disk, then append again", retry_after_s=10.0)
        case sqlite3.SQLITE_IOERR:
            return Retryable(f"{where}; check its disk and quota, then append again", retry_after_s=10.0)
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_AUTH:
            return Refused(f"{where}; make the file and its folder readable and writable, or name another ledger")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return Broken(f"{where}; the file is damaged or no ledger: keep it as it is and restore a copy")
        case _:
            return Broken(where)
