"""What goes in and out of a connection, as values, and the bytes of an answer. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple

from ratelimiter.problems import Problem

JSON = "application/json"
PROBLEM = "application/problem+json"
Fields = tuple[tuple[str, str], ...]

_to_json = json.JSONEncoder(separators=(",", ":")).encode
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}


class Request(NamedTuple):
    """A request that was read to its end; ``path`` is still percent-encoded and without the query."""

    method: str
    path: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request gets back; ``fields`` are headers besides length, type and connection."""

    status: int
    body: bytes
    media_type: str
    fields: Fields = ()


def json_answer(status: int, document: object, *, fields: Fields = (), media_type: str = JSON) -> Answer:
    """An answer with ``document`` as compact JSON in ASCII."""
    return Answer(status, _to_json(document).encode(), media_type, fields)


def problem_answer(problem: Problem) -> Answer:
    """The problem document of a refusal, with the headers it carries."""
    return json_answer(problem.status, problem.document(), fields=problem.fields, media_type=PROBLEM)


def encode(answer: Answer, *, close: bool, head_only: bool) -> bytes:
    """The bytes of an answer; ``close`` announces the end of the connection, ``head_only`` is the answer to HEAD."""
    lines = [
        _STATUS_LINES[answer.status],
        f"Content-Type: {answer.media_type}\r\nContent-Length: {len(answer.body)}\r\n",
        *(f"{name}: {value}\r\n" for name, value in answer.fields),
        "Connection: close\r\n\r\n" if close else "\r\n",
    ]
    head = "".join(lines).encode("latin-1")
    return head if head_only else head + answer.body
