"""Decides what a reference to a large body looks like and whether a body is the one referred to. Touches nothing."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any, Final

from harness.core.canonical import canonical_value
from harness.core.errors import Broken, Invalid
from harness.core.events import BlobRef

LARGEST_BLOB_BYTES: Final = 64 * 1024 * 1024

_REFERENCE = re.compile(r"sha256:([0-9a-f]{64})")
_REFERENCE_CHARS = len("sha256:") + 64


def reference(body: bytes) -> BlobRef:
    """``sha256:`` and the hash (hex) of the body. Raises ``Invalid`` for a body above the limit."""
    if len(body) > LARGEST_BLOB_BYTES:
        raise Invalid(f"blob: {len(body)} bytes, at most {LARGEST_BLOB_BYTES} are allowed; store it in parts")
    return f"sha256:{sha256(body).hexdigest()}"


def digest(ref: BlobRef) -> str:
    """The hash (hex) in a reference. Raises ``Invalid`` when it is none."""
    match = _REFERENCE.fullmatch(ref)
    if match is None:
        raise Invalid(f"blob: {ref!r} is no reference; allowed is sha256: and 64 hex digits in lower case")
    return match[1]


def is_reference(text: str) -> bool:
    """Whether a text has the form of a reference."""
    return len(text) == _REFERENCE_CHARS and _REFERENCE.fullmatch(text) is not None


def proven(body: bytes, ref: BlobRef) -> bytes:
    """The body, when it is what ``ref`` names. Raises ``Broken`` when it is not."""
    if sha256(body).hexdigest() != digest(ref):
        raise Broken(f"blob {ref} is altered: its body has another hash; restore it from a copy")
    return body


def json_value(body: bytes, ref: BlobRef) -> Any:
    """The JSON value in a body. Raises ``Invalid`` when it holds none."""
    try:
        return canonical_value(body)
    except ValueError as error:
        raise Invalid(f"blob {ref}: its body is not JSON ({error}); get it as bytes") from error
