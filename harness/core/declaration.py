"""Declared data: frozen pydantic models whose faults are told as ``path: reason``. Pure, touches nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import reduce
from operator import getitem
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    InstanceOf,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from harness.core import units
from harness.core.criteria import CriterionSpec
from harness.core.errors import Invalid

T = TypeVar("T")
_SHOWN_CHARS = 200
_WORDS = {
    "tuple_type": "should be a list", "model_type": "should be keys, each with its value",
    "dict_type": "should be keys, each with its value", "string_type": "should be text",
}  # fmt: skip
"""What pydantic says in words of Python, in words of a document."""


class Form(BaseModel):
    """A part of a document in somebody's form. Keys that are not known are left alone here."""

    model_config = ConfigDict(frozen=True)

    @classmethod
    def parse(cls, document: Any, where: str) -> Self:
        """The model of ``document`` (parsed YAML or JSON); raises Invalid, a line ``where: path: reason`` a fault.

        A key that is not known hides what else is wrong beside it; so it is told, left out, and the rest is read again.
        """
        faults: list[str] = []
        while True:
            try:
                model = cls.model_validate(document)
                break
            except ValidationError as error:
                found = [fault for fault in error.errors(include_url=False) if not _follows(fault)]
            unknown = [fault for fault in found if fault["type"] == "unknown_key"]
            rest = _without(document, unknown)
            faults += [f"{where}: {_path(fault)}: {_reason(fault)}" for fault in (unknown if rest else found)]
            if not rest:
                break
            document = rest
        if faults:
            raise Invalid("\n".join(faults))
        return model


class Declaration(Form):
    """A part of a declaration: unknown keys are refused with the nearest known one."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _known_keys_only(cls, given: Any) -> Any:
        if isinstance(given, dict):
            known = [field.alias or name for name, field in cls.model_fields.items()]
            for key in (str(key) for key in given if key not in known):
                raise PydanticCustomError(
                    "unknown_key", "unknown key; {choices}", {"key": key, "choices": units.choices(key, known)}
                )
        return given


def _without(document: Any, unknown: Sequence[Any]) -> Any:
    """The document without these keys, the given one as it is; None when there is none, or one cannot be found.

    The place of a fault in one of several forms names the form as well, which is nothing in the document.
    """
    rest = deepcopy(document)
    for fault in unknown:
        try:
            holder = reduce(getitem, fault["loc"], rest)
            del holder[next(key for key in holder if str(key) == fault["ctx"]["key"])]
        except (LookupError, TypeError, StopIteration):
            return None
    return rest if unknown else None


def _follows(fault: Any) -> bool:
    """Pydantic calls a list too short when its items are faulty; those are told anyway."""
    return bool(fault["type"] == "too_short" and len(fault["input"]) >= fault["ctx"]["min_length"])


def _path(fault: Any) -> str:
    parts = [*fault["loc"], *([fault["ctx"]["key"]] if fault["type"] == "unknown_key" else [])]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{as_key(part)}" for part in parts)
    return path.lstrip(".") or "document"


def as_key(part: object) -> str:
    """A key of a document as a path has it: on one line, whatever it holds."""
    text = str(part)
    return text if text.isprintable() else repr(text)[1:-1]


def _reason(fault: Any) -> str:
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    if fault["type"] == "missing":
        return "is missing"
    if fault["type"] == "string_too_long":
        return f"has {len(fault['input'])} characters; at most {fault['ctx']['max_length']} are allowed"
    message = _WORDS.get(fault["type"], str(fault["msg"]))
    if fault["type"] == "unknown_key" or isinstance(fault["input"], dict | list):
        return message
    given = repr(fault["input"])
    shown = given if len(given) <= _SHOWN_CHARS else f"{given[:_SHOWN_CHARS]}… ({len(given)} characters)"
    return f"{message[0].lower()}{message[1:]}, not {shown}"


def _from_text(read: Callable[[str], T], example: str) -> BeforeValidator:
    def validated(given: Any) -> T:
        if not isinstance(given, str):
            raise ValueError(f"{given!r} is not text; write it like `{example}`")
        try:
            return read(given)
        except Invalid as error:
            raise ValueError(str(error)) from None

    return BeforeValidator(validated)


def _text_schema(pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": [example]})


_NUMBER = r"^[+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*"


def _inside(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/") or not path:
        raise Invalid(f"{path!r} leads out of the repository; write it relative to its root")
    return path


Seconds = Annotated[float, _from_text(units.seconds, "60s"), _text_schema(_NUMBER + "(ns|us|ms|s|m|h|d)$", "60s")]
Bytes = Annotated[int, _from_text(units.size_bytes, "1GiB"), _text_schema(_NUMBER + "(B|[kMG]B|[KMG]iB)$", "1GiB")]
Share = Annotated[float, _from_text(units.share, "99.9%"), _text_schema(_NUMBER + "%$", "99.9%")]
RepositoryPath = Annotated[str, _from_text(_inside, "src/name.py"), WithJsonSchema({"type": "string", "minLength": 1})]
CriterionText = Annotated[
    InstanceOf[CriterionSpec],
    _from_text(CriterionSpec.parse_text, "available > 20%"),
    _text_schema(r"^[A-Za-z_][A-Za-z0-9_]* .+$", "available > 20%"),
]
