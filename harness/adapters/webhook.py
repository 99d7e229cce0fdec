"""Posts notices to a receiver's address, signed as Standard Webhooks says. Decides nothing; touches only the network.

The address is never logged, nor part of an error: with many chat services it is the secret.
"""

from __future__ import annotations

import asyncio
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import httpx
from standardwebhooks.webhooks import EmptyWebhookSecretError
from standardwebhooks.webhooks import Webhook as Signer

from harness.core.errors import Invalid
from harness.core.notice import Receiver

TIMEOUT_S: Final = 10.0
"""Until the answer's head is there; its body is not read."""
_ADDRESS = re.compile(r"https://[^\s/]+(/\S*)?|http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]+)?(/\S*)?")


@dataclass(frozen=True, slots=True)
class Answer:
    """The status, None when none came; how long the receiver asks to be left alone; and what was wrong, for the log."""

    status: int | None
    retry_after_s: float | None = None
    trouble: str = ""


class Webhook:
    """A receiver's address; ``secret`` signs what is sent."""

    def __init__(self, url: str, secret: str | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
        self._url = url
        self._signer = Signer(secret) if secret else None
        self._timeout_s = timeout_s
        self._certificates = httpx.create_ssl_context()  # takes longer to read than a notice to send

    @classmethod
    def of(cls, receiver: Receiver, environment: Mapping[str, str]) -> Webhook | None:
        """As the environment says; None where it has no address for this receiver. Raises Invalid."""
        if not (url := environment.get(receiver.url_from)):
            return None
        if not _ADDRESS.fullmatch(url) or not _may_be_asked(url):
            raise Invalid(
                f"{receiver.url_from}: is not the address of a webhook; allowed: https://HOST/PATH, and http:// on "
                "loopback"
            )
        secret = environment.get(receiver.secret_from) if receiver.secret_from else None
        try:
            return cls(url, secret)
        except (binascii.Error, EmptyWebhookSecretError, ValueError):
            raise Invalid(
                f"{receiver.secret_from}: is not a secret of Standard Webhooks; write `whsec_` and base64, as "
                "`echo whsec_$(head -c 24 /dev/urandom | base64)` makes"
            ) from None

    async def post(self, id: str, body: Mapping[str, Any], at: datetime) -> Answer:
        """Send a notice; ``at`` is now, in UTC. Never raises for what the network does."""
        text = json.dumps(body, allow_nan=False)
        headers = {
            "content-type": "application/json", "webhook-id": id, "webhook-timestamp": str(int(at.timestamp()))
        }  # fmt: skip
        if self._signer:
            headers["webhook-signature"] = self._signer.sign(id, at, text)
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                httpx.AsyncClient(timeout=self._timeout_s, verify=self._certificates) as client,
                client.stream("POST", self._url, content=text, headers=headers) as response,
            ):
                asked = response.headers.get("retry-after", "")
                return Answer(response.status_code, float(asked) if re.fullmatch(r"[0-9]{1,6}", asked) else None)
        except TimeoutError:
            return Answer(None, trouble=f"no answer within {self._timeout_s:g} s")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Answer(None, trouble=type(error).__name__)


def _may_be_asked(url: str) -> bool:
    """Whether a request can be made of it: a port within bounds, a host that names can have."""
    try:
        port = httpx.Request("POST", url).url.port
    except (httpx.InvalidURL, ValueError):
        return False
    return port is None or 0 < port < 65536
