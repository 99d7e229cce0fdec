"""How things are said to a model: the world's text as labelled data, answers cut with a marker, nudges. Pure.

Text from the world never stands bare in a prompt, and it cannot end the frame that it stands in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from harness.core.conversation import Call, Reply
from harness.core.plain_text import safe

_FRAME: Final = re.compile(r"<(/?data)\b", re.IGNORECASE)
_NO_WORD: Final = re.compile(r"[^A-Za-z0-9_ .-]")
_ORIGIN_CHARS: Final = 60
"""The name of a tool that there is not is the model's own words, too."""
_GIVEN_CHARS: Final = 200

NO_CALL: Final = "no_call"
"""The name under which a turn that called no tool, or called one unreadably, is recorded. It is not offered."""
NOT_CALLED: Final = "No tool was called. Call the next tool, or one that ends the session."
CUT_OFF: Final = "Your answer was cut off at its length limit. Say less, and call one tool with shorter arguments."


def framed(origin: str, text: str) -> str:
    """The text as data of this origin: nothing in it is invisible, or ends the frame."""
    inside = _FRAME.sub(r"&lt;\1", safe(text))
    return f'<data origin="{_NO_WORD.sub("_", origin[:_ORIGIN_CHARS])}">\n{inside}\n</data>'


def body_text(body: Mapping[str, Any], limit_chars: int) -> str:
    """An observation's JSON, cut with a marker that says how to see the rest."""
    text = json.dumps(body, ensure_ascii=False, default=str)
    if len(text) <= limit_chars:
        return text
    return (
        f"{text[:limit_chars]}\n[cut: {limit_chars} of {len(text)} characters are shown; ask for a smaller part, "
        "or page with the tool's own arguments]"
    )


def unusable(reply: Reply, call: Call | None) -> str | None:
    """Why nothing can be done with this call, or with a reply that holds none; None for a call that can be tried."""
    if call is None:
        return CUT_OFF if reply.stop == "cut" else NOT_CALLED
    if call.arguments is not None and call.tool != NO_CALL:
        return None
    given = call.given if len(call.given) <= _GIVEN_CHARS else f"{call.given[:_GIVEN_CHARS]}…"
    cut = " They were cut off at the length limit: say less." if reply.stop == "cut" else ""
    return f"{call.tool}: the arguments are not one JSON object, so nothing was done.{cut} Received: {given!r}"
