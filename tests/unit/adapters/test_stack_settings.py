"""What the environment may say, and how a bad value is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.adapters.stack.addresses import PORT_NAMES, Addresses
from harness.core.errors import Invalid, Retryable
from harness.settings import Settings

VARIABLES = (
    "HARNESS_HOME",
    "HARNESS_LEDGER_URL",
    "HARNESS_AGENT",
    "TEMPORAL_ADDRESS",
    "TEMPORAL_NAMESPACE",
    "PROMETHEUS_URL",
)


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_without_an_environment_everything_is_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.load()
    assert settings.home.root == (tmp_path / "var").resolve()
    assert settings.ledger_url == f"sqlite:///{settings.home.ledger}"
    assert (settings.given_temporal_address, settings.given_prometheus_url) == (None, None)
    assert (settings.temporal_namespace, settings.harness_agent) == ("default", "runbook")


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "")
    assert Settings.load().given_temporal_address is None


def test_parts_of_somebody_else_are_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "temporal.example.org:7233")
    monkeypatch.setenv("PROMETHEUS_URL", "https://metrics.example.org/prometheus/")
    settings = Settings.load()
    assert settings.temporal_address == "temporal.example.org:7233"
    assert settings.prometheus_url == "https://metrics.example.org/prometheus"


def test_parts_of_the_stack_itself_are_where_the_stack_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # given a home where no stack was ever started
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path))
    settings = Settings.load()
    with pytest.raises(Retryable, match="harness up"):
        _ = settings.temporal_address

    # when one was, then its addresses are used
    settings.home.run.mkdir()
    ports = {name: 20_000 for name in PORT_NAMES}
    Addresses(
        temporal="127.0.0.1:20000",
        temporal_namespace="default",
        prometheus="http://127.0.0.1:20002",
        ports=ports,
        sockets="/tmp/h-00000000",
    ).write(settings.home)
    assert settings.temporal_address == "127.0.0.1:20000"
    assert settings.prometheus_url == "http://127.0.0.1:20002"


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("HARNESS_AGENT", "parrot", "'runbook'"),
        ("TEMPORAL_ADDRESS", "7233", "host:port"),
        ("TEMPORAL_ADDRESS", "localhost:99999", "host:port"),
        ("TEMPORAL_NAMESPACE", "a/b", "letters, digits"),
        ("PROMETHEUS_URL", "localhost:9090", "http://"),
    ],
)
def test_a_bad_value_is_refused_with_its_variable_and_what_is_allowed(
    variable: str, value: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(Invalid) as refused:
        Settings.load()
    assert str(refused.value).startswith(f"{variable}: '{value}' is not allowed; allowed: ")
    assert allowed in str(refused.value)


def test_the_password_of_a_refused_ledger_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_LEDGER_URL", "mysql://harness:hunter2@db/ledger")
    with pytest.raises(Invalid) as refused:
        Settings.load()
    assert "HARNESS_LEDGER_URL" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_what_must_not_be_written_is_what_the_environment_and_the_homes_token_file_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path))
    monkeypatch.setenv("SOMEBODYS_API_KEY", "k-12345678")
    assert Settings.load().secrets.taken_from_text("k-12345678 t-87654321")[0] == "[redacted] t-87654321"

    (tmp_path / "api-token").write_text("t-87654321\n")
    assert Settings.load().secrets.taken_from_text("k-12345678 t-87654321")[0] == "[redacted] [redacted]"
