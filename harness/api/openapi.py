"""The forms of the HTTP interface as `/openapi.json` tells them: bodies, answers, and every error. Touches nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from harness.api.guard import GUARDED
from harness.api.problems import MEANING, MEDIA_TYPE
from harness.core.alert import AlertmanagerMessage, SignalForm
from harness.core.declaration import Declaration
from harness.core.ticket_spec import TicketSpec

OPEN: Final = (400, 405, 408, 431, 500, 503)
"""What any route can give: some of it before anybody knows which route is meant."""
READS: Final = (*OPEN, 401, 409)
TAKES: Final = (*READS, 413, 415, 422)


class TicketFile(Declaration):
    """A ticket file."""

    ticket: TicketSpec


@dataclass(frozen=True)
class Form:
    """What a route takes and answers; ``status`` is that of its answer."""

    status: int
    meaning: str
    errors: tuple[int, ...]
    schema: dict[str, Any] | None = None
    body: type[BaseModel] | None = None
    media_type: str = "application/json"

    def route(self, name: str) -> dict[str, Any]:
        """As FastAPI takes it."""
        content = {self.media_type: {"schema": self.schema or {"type": "object"}}}
        failing = {
            status: {"description": MEANING[status], "content": {MEDIA_TYPE: {"schema": {"$ref": _ref("Problem")}}}}
            for status in self.errors
        }
        extra: dict[str, Any] = {}
        if self.body is not None:
            wanted = {"schema": {"$ref": _ref(self.body.__name__)}}
            extra["requestBody"] = {"required": True, "content": {"application/json": wanted}}
        return {
            "operation_id": name, "status_code": self.status, "openapi_extra": extra,
            "responses": {self.status: {"description": self.meaning, "content": content}, **failing},
        }  # fmt: skip


def _ref(name: str) -> str:
    return f"#/components/schemas/{name}"


def _of(**properties: str) -> dict[str, Any]:
    """The schema of an object with these keys, each of that type."""
    fields: dict[str, Any] = {name: {"type": kind.split("|") if "|" in kind else kind} for name, kind in
                              properties.items()}  # fmt: skip
    return {"type": "object", "required": list(properties), "properties": fields}


def _list_of(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": schema}


_LISTED = _of(id="string", state="string", type="string", service="string", priority="string", title="string",
              fingerprint="string|null", opened_at="string", closed_at="string|null")  # fmt: skip
_SHOWN = _of(id="string", type="string", service="string", state="string", source="string", priority="string",
             objective="string", acceptance_criteria="array", constraints="array", attempts="array", signals="array",
             cost="object", parent="string|null", children="array", links="array")  # fmt: skip
_RECEIVED = _of(received="integer", refused="array", truncated="integer")
_RECEIVED["properties"]["refused"]["items"] = _of(index="integer", fingerprint="string|null", reason="string")
_COMPONENT = _of(name="string", state="string", since="string|null", evidence="object")
_HEALTH = {"type": "object", "required": ["components"], "properties": {"components": _list_of(_COMPONENT)}}
_PROBLEM = _of(type="string", title="string", status="integer", detail="string")

ALERTMANAGER = Form(200, "Recorded.", TAKES, _RECEIVED, AlertmanagerMessage)
SIGNAL = Form(202, "Recorded; it is filed next.", TAKES, _of(cause="string", kind="string", fingerprint="string"),
              SignalForm)  # fmt: skip
FILE_TICKET = Form(201, "Filed.", (*TAKES, 410), _of(id="string"), TicketFile)
TICKETS = Form(200, "All tickets, newest first.", READS, _list_of(_LISTED))
TICKET = Form(200, "The ticket.", (*READS, 404, 410), _SHOWN)
HEALTH = Form(200, "Every component.", READS, _HEALTH)
METRICS = Form(200, "Metrics in the text format.", OPEN, {"type": "string"}, media_type="text/plain")
LIVE = Form(200, "The process answers.", OPEN, _of(live="boolean"))
READY = Form(200, "Signals and tickets can be taken in.", OPEN, _of(ready="boolean"))


def documented(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """How the application describes itself: with the schemas of bodies, and the token that the routes want."""

    def made() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            schemas: dict[str, Any] = {"Problem": _PROBLEM}
            for model in (AlertmanagerMessage, SignalForm, TicketFile):
                schema = model.model_json_schema(ref_template=_ref("{model}"))
                schemas |= schema.pop("$defs", {})
                schemas[model.__name__] = schema
            document["components"] = {
                "schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            }  # fmt: skip
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    operation["security"] = [{"token": []}] if path.startswith(GUARDED) else []
                    if "{id}" in path:
                        operation["parameters"] = [
                            {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
                        ]
            app.openapi_schema = document
        return app.openapi_schema

    return made
