"""Which addresses and secrets a webhook takes, without telling either."""

from __future__ import annotations

import pytest

from harness.adapters.webhook import Webhook
from harness.core.errors import Invalid
from harness.core.notice import Receiver

PEOPLE = Receiver.model_validate({
    "name": "people", "url_from": "HARNESS_WEBHOOK_URL", "secret_from": "HARNESS_WEBHOOK_SECRET",
    "tell": ["ticket.escalated"],
})  # fmt: skip


@pytest.mark.parametrize("url", ["https://chat.example/hook/abc", "http://127.0.0.1:9000/", "http://[::1]:9000"])
def test_https_and_loopback_are_addresses(url: str) -> None:
    assert Webhook.of(PEOPLE, {"HARNESS_WEBHOOK_URL": url, "HARNESS_WEBHOOK_SECRET": "whsec_c2VjcmV0"})


@pytest.mark.parametrize(
    "url",
    [
        "http://chat.example/hook-abc",
        "chat.example/hook-abc",
        "file:///hook-abc",
        "http://127.0.0.1.evil/hook-abc",
        "https://chat.example:port/hook-abc",
        "http://127.0.0.1:99999/hook-abc",
        "https://[::1/hook-abc",
        "https://host\x01/hook-abc",
        f"https://chat.example/hook-abc{'x' * 70_000}",
    ],
)
def test_what_would_travel_in_the_clear_is_no_address_and_is_not_repeated(url: str) -> None:
    with pytest.raises(Invalid, match=r"^HARNESS_WEBHOOK_URL: ") as caught:
        Webhook.of(PEOPLE, {"HARNESS_WEBHOOK_URL": url})
    assert "hook-abc" not in str(caught.value)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_ä", "whsec_a"])
def test_a_secret_that_signs_nothing_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(Invalid, match=r"^HARNESS_WEBHOOK_SECRET: ") as caught:
        Webhook.of(PEOPLE, {"HARNESS_WEBHOOK_URL": "https://chat.example", "HARNESS_WEBHOOK_SECRET": secret})
    assert secret not in str(caught.value).replace("write `whsec_`", "").replace("whsec_$(", "")


@pytest.mark.parametrize("environment", [{}, {"HARNESS_WEBHOOK_URL": ""}])
def test_without_an_address_nobody_is_told(environment: dict[str, str]) -> None:
    assert Webhook.of(PEOPLE, environment) is None
