"""The token of the local administrator: made once, kept in the home with mode 0600. Writes that file and no other."""

from __future__ import annotations

import os
import secrets

from pydantic import SecretStr

from harness.adapters.stack.home import Home
from harness.core.errors import Invalid

BYTES = 32


def kept_token(home: Home) -> SecretStr | None:
    """The token that the home keeps; None where none was made. Raises Invalid for a file that holds none."""
    try:
        kept = home.api_token.read_text().strip()
    except FileNotFoundError:
        return None
    if not kept:
        raise Invalid(f"{home.api_token}: is empty; remove it, and the next start makes a token")
    return SecretStr(kept)


def make_token(home: Home) -> SecretStr:
    """A new token, kept; where another process was faster, its."""
    token = secrets.token_urlsafe(BYTES)
    home.root.mkdir(parents=True, exist_ok=True)
    unnamed = home.api_token.with_name(f".{home.api_token.name}.{os.getpid()}")
    unnamed.unlink(missing_ok=True)
    handle = os.open(unnamed, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(f"{token}\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(unnamed, home.api_token)  # whole or not at all, and never in the place of another
    except FileExistsError:
        kept = kept_token(home)
        assert kept is not None
        return kept
    finally:
        unnamed.unlink()
    return SecretStr(token)


def told(token: str) -> str:
    """How a new token is told to people, once."""
    return f"token of the HTTP interface, told this once and kept in the home: {token}"
