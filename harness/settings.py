"""Every setting of the harness, typed, with the name of its environment variable. Judges no more than form."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from harness.adapters.stack.addresses import Addresses
from harness.adapters.stack.home import Home
from harness.adapters.stack.readiness import announce
from harness.core.errors import Invalid
from harness.core.redaction import Secrets


def _address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise ValueError("host:port")
    return value


def _folder(value: Path) -> Path:
    whole = value.expanduser().absolute()
    if any(path.exists() and not path.is_dir() for path in (whole, *whole.parents)):
        raise ValueError("a folder, or a path where one can be made")
    return value


def http_url(value: str) -> str:
    """The URL without a slash at its end; ValueError for what is none."""
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", value):
        raise ValueError("a URL that begins with http:// or https://")
    return value.rstrip("/")


def _ledger_url(value: str) -> str:
    if not value.startswith(("sqlite:///", "postgresql+psycopg://")):
        raise ValueError("sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME")
    return value


def _namespace(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", value):
        raise ValueError("letters, digits and _.- after a letter or digit")
    return value


def _key(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]+", value.get_secret_value()):
        raise ValueError("printable ASCII without spaces, as it goes into a header")
    return value


def _model(value: str) -> str:
    if not re.fullmatch(r"[\w./:@+-]{1,100}", value):
        raise ValueError("a model's name: letters, digits and ./:@+-_")
    return value


NO_KEY = (
    "{name}_API_KEY: is not set, and agent {agent} needs it; set it, or an endpoint without keys in {name}_BASE_URL"
)
KEPT_TOKEN = "KEPT_API_TOKEN"
"""The name under which a token that the home keeps is counted."""
ModelAgent = Literal["anthropic", "openai"]


class Settings(BaseSettings):
    """What the environment says. Made by ``Settings.load``, which turns a bad value into Invalid.

    An empty variable counts as not set. ``given_temporal_address`` and ``given_prometheus_url`` name parts
    that somebody else runs, None when the stack runs its own; ``temporal_address`` and ``prometheus_url`` say where
    they are in either case.
    """

    model_config = SettingsConfigDict(env_ignore_empty=True, frozen=True)

    harness_home: Annotated[Path, AfterValidator(_folder)] = Field(Path("var"), validation_alias="HARNESS_HOME")
    harness_agent: Literal["runbook", "anthropic", "openai"] = Field("runbook", validation_alias="HARNESS_AGENT")
    harness_model: Annotated[str, AfterValidator(_model)] | None = Field(None, validation_alias="HARNESS_MODEL")
    anthropic_api_key: Annotated[SecretStr, AfterValidator(_key)] | None = Field(
        None, validation_alias="ANTHROPIC_API_KEY"
    )
    anthropic_base_url: Annotated[str, AfterValidator(http_url)] | None = Field(
        None, validation_alias="ANTHROPIC_BASE_URL", repr=False
    )
    openai_api_key: Annotated[SecretStr, AfterValidator(_key)] | None = Field(None, validation_alias="OPENAI_API_KEY")
    openai_base_url: Annotated[str, AfterValidator(http_url)] | None = Field(
        None, validation_alias="OPENAI_BASE_URL", repr=False
    )
    api_token: Annotated[SecretStr, AfterValidator(_key)] | None = Field(None, validation_alias="HARNESS_API_TOKEN")
    test_secret: SecretStr | None = Field(None, validation_alias="HARNESS_TEST_SECRET")
    temporal_namespace: Annotated[str, AfterValidator(_namespace)] = Field(
        "default", validation_alias="TEMPORAL_NAMESPACE"
    )
    given_ledger_url: Annotated[str, AfterValidator(_ledger_url)] | None = Field(
        None, validation_alias="HARNESS_LEDGER_URL", repr=False
    )
    given_temporal_address: Annotated[str, AfterValidator(_address)] | None = Field(
        None, validation_alias="TEMPORAL_ADDRESS"
    )
    given_prometheus_url: Annotated[str, AfterValidator(http_url)] | None = Field(
        None, validation_alias="PROMETHEUS_URL"
    )

    @classmethod
    def load(cls) -> Settings:
        """Raises Invalid with a line ``VARIABLE: value, what is allowed`` for every bad variable."""
        try:
            return cls()
        except ValidationError as error:
            raise Invalid("\n".join(_reason(entry) for entry in error.errors())) from None

    @property
    def home(self) -> Home:
        """The layout of HARNESS_HOME, absolute and without symbolic links."""
        return Home(self.harness_home.expanduser().resolve())

    @property
    def addresses(self) -> Addresses:
        """Where the parts of this home's stack are. Raises Retryable when none was ever started here."""
        return Addresses.read(self.home)

    @property
    def ledger_url(self) -> str:
        """May hold a password: never log it."""
        return self.given_ledger_url or f"sqlite:///{self.home.ledger}"

    @property
    def temporal_address(self) -> str:
        """host:port. Raises Retryable when neither the environment nor a stack of this home names one."""
        return self.given_temporal_address or self.addresses.temporal

    @property
    def prometheus_url(self) -> str:
        """Without a slash at its end. Raises Retryable when neither the environment nor a stack names one."""
        return self.given_prometheus_url or self.addresses.prometheus

    @property
    def secrets(self) -> Secrets:
        """What must never be written: values of this environment, and the token that the home keeps for the API."""
        try:
            kept = {KEPT_TOKEN: self.home.api_token.read_text().strip()}
        except FileNotFoundError:
            kept = {}
        return Secrets.of({**os.environ, **kept})

    def model_key(self, agent: ModelAgent) -> SecretStr | None:
        """The key of the agent's provider; None without one."""
        return self.anthropic_api_key if agent == "anthropic" else self.openai_api_key

    def model_base_url(self, agent: ModelAgent) -> str | None:
        """Where the agent's provider is; None for its own address."""
        return self.anthropic_base_url if agent == "anthropic" else self.openai_base_url

    def require_agent(self) -> None:
        """Raises Invalid when the agent is a model that cannot be asked: better here than in a worker that dies."""
        if (agent := self.harness_agent) != "runbook" and not (self.model_key(agent) or self.model_base_url(agent)):
            raise Invalid(NO_KEY.format(agent=agent, name=agent.upper()))

    def announce_ready(self, component: str) -> None:
        """Called by a component of the stack once it serves: its supervisor waits for this."""
        announce(self.home, component)


_MAY_HOLD_A_SECRET = {
    "HARNESS_LEDGER_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "OPENAI_API_KEY", "OPENAI_BASE_URL",
    "HARNESS_API_TOKEN",
}  # fmt: skip


def _reason(error: ErrorDetails) -> str:
    variable = str(error["loc"][0])
    value = "the value given" if variable in _MAY_HOLD_A_SECRET else repr(error["input"])
    context = error.get("ctx", {})
    allowed = context.get("expected") or context.get("error") or error["msg"]
    return f"{variable}: {value} is not allowed; allowed: {allowed}"
