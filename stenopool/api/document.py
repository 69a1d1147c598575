"""The OpenAPI document: FastAPI's, plus whatever applies to many routes.

A route declares only its own responses: models, and the refusals that no other route sends, as ``responses={409: {}}``.
Everything else follows from the kind of operation: whether it needs a key, takes input, or has a body. Each refusal
gets the schema of a problem, each status its headers, each model an example. The tests compare every response with the
document.
"""

import json
from collections.abc import Iterator
from functools import cached_property
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from stenopool.api.callbacks.events import EVENTS
from stenopool.api.contents import NOT_MODIFIED
from stenopool.api.lifecycle import FromSource
from stenopool.api.problems import MEDIA_TYPE, ProblemDocument, type_of
from stenopool.api.routers.uploads import DirectUpload

CONTRACT = "1"
"""The version of the contract, and of the addresses' prefix. docs/api.md says what may change within it."""

_REF = "#/components/schemas/{model}"
# Models that a route parses itself, so FastAPI does not find them.
_MODELS: tuple[tuple[type[BaseModel], JsonSchemaMode], ...] = (
    (DirectUpload, "validation"),
    (FromSource, "validation"),
    *((event, "serialization") for event in EVENTS.values()),
)

_TAGS = {
    "recordings": "Send, list, follow and delete recordings.",
    "transcripts": "Transcripts of recordings, and names of speakers.",
    "uploads": "Presigned URLs for uploads directly to the store.",
    "batches": "Transcribe everything below a prefix in one run.",
    "queue": "Unfinished runs, in the order in which they will run.",
    "callbacks": "Events sent when a recording or a batch has ended.",
    "openai": "An OpenAI-compatible API.",
    "options": "The options of a recording.",
    "about": "The program and the caller.",
    "health": "For probes and Prometheus; no key is required.",
}

# Refusals by kind of operation. A route declares those that only it sends.
_EVERY = (400, 403, 408, 413, 431, 500, 503)
_WITH_KEY = (401, 429)
_WITH_INPUT = (422,)
_WITH_BODY = (415,)
_WITH_ID = (404,)
_WITH_RANGE = (416,)
_WITH_TAG = {"transcripts": (406, 409)}

_REFUSALS = {
    400: ("BAD_REQUEST", "The request is malformed."),
    401: ("UNAUTHENTICATED", "The key is missing or unknown."),
    403: ("FORBIDDEN", "The key lacks a scope; or, without keys, the request is not from this machine."),
    404: ("OBJECT_NOT_FOUND", "It does not exist."),
    406: ("NOT_ACCEPTABLE", "Not available in an accepted media type."),
    408: ("BODY_TOO_SLOW", "The request arrives too slowly."),
    412: ("PRECONDITION_FAILED", "The content has changed since it was read."),
    409: ("RECORDING_BUSY", "The current state does not allow this."),
    413: ("TOO_LARGE", "The body is too large."),
    415: ("UNSUPPORTED_MEDIA_TYPE", "The Content-Type is not supported, or the file is not audio."),
    416: ("RANGE_NOT_SATISFIABLE", "The requested range is outside the content."),
    422: ("REQUEST_INVALID", "The request does not match the schema, or cannot be fulfilled."),
    429: ("TOO_MANY_REQUESTS", "Too many requests."),
    431: ("HEADERS_TOO_LARGE", "The headers are too large."),
    500: ("INTERNAL", "An error in the service or its configuration; retrying does not help."),
    503: ("PREFECT_UNAVAILABLE", "The service, or something that it depends on, is unavailable."),
    504: ("STILL_WORKING", "The result is not ready within the time limit of a request."),
}

# By status: name, whether it is always sent, meaning.
_HEADERS: dict[int, tuple[tuple[str, bool, str], ...]] = {
    206: (("Content-Range", True, "The range that is sent: `bytes FIRST-LAST/SIZE`."),),
    401: (("WWW-Authenticate", True, "How to authenticate."),),
    416: (("Content-Range", True, "The size: `bytes */SIZE`."),),
    429: (("Retry-After", True, "Seconds to wait before the next request."),),
    503: (("Retry-After", False, "Seconds to wait before a retry; absent if retrying does not help."),),
    504: (("Location", True, "Address of the result."),),
}

_ALWAYS = {"X-Request-Id": "The request's id: the client's, or a random one."}
_WITH_RATE = {
    "RateLimit": "Requests left, and seconds until the quota is full again (draft-ietf-httpapi-ratelimit-headers).",
    "RateLimit-Policy": "Quota of requests, and seconds in which it is refilled.",
}
_DEPRECATED = {
    "Deprecation": "When this was deprecated (RFC 9745).",
    "Link": 'The replacement: rel="successor-version".',
}
_WITH_ETAG = {"ETag": "Entity tag for If-None-Match, If-Match and If-Range."}

# Example values of fields, by name.
_EXAMPLES: dict[str, Any] = {
    "age": 12.5,
    "code": "INPUT_CORRUPT",
    "detail": "The recording has no transcript: it is queued.",
    "duration": 9.5,
    "etag": "9a0364b9e99bb480dd25e1f0284c8555",
    "failure": None,
    "file": "call.wav",
    "filename": "call.wav",
    "fingerprint": "0cc175b9c0f1b6a831c399e269772661",
    "host": "hooks.example.org",
    "id": "MjAyNi9jYWxsLndhdg",
    "instance": "/v1/recordings/MjAyNi9jYWxsLndhdg/transcript",
    "key": "2026/call.wav",
    "language": "en",
    "message": "Field required",
    "name": "call.wav",
    "names": {"SPEAKER_00": "Ann"},
    "next_cursor": None,
    "options": {"language": "en"},
    "position": 1,
    "prefix": None,
    "progress": None,
    "queue": None,
    "recording": "MjAyNi9jYWxsLndhdg",
    "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "size": 480044,
    "source": "s3://calls",
    "stage": None,
    "text": "Good morning.",
    "uri": "s3://calls/2026/call.wav",
    "url": "https://hooks.example.org/done",
}
_FORMATS = {
    "date-time": "2026-11-30T08:00:00Z",
    "uuid": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
    "binary": "...",
}
_DEPTH = 8  # levels of an example; no model is deeper


class DocumentedApp(FastAPI):
    """FastAPI with a document that describes every response."""

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            self.openapi_schema = _complete(super().openapi())
        return self.openapi_schema

    @cached_property
    def document(self) -> bytes:
        """The content of /openapi.json, encoded once: anyone may request it."""
        return json.dumps(self.openapi(), ensure_ascii=False, separators=(",", ":")).encode()


def create_documented_app(**options: Any) -> DocumentedApp:
    """Create an application without routes.

    Only /openapi.json is served, because FastAPI's /docs loads scripts from other hosts.
    """
    app = DocumentedApp(
        title="Stenopool",
        summary="Recordings in, speaker-labelled transcripts out.",
        description="Errors are problems (RFC 9457). docs/api.md says what may change within /v1.",
        version=CONTRACT,
        contact={"name": "Stenopool", "url": "https://github.com/stenopool/stenopool"},
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        servers=[{"url": "/", "description": "This installation."}],
        openapi_tags=[{"name": name, "description": text} for name, text in _TAGS.items()],
        generate_unique_id_function=_operation_id,
        openapi_url=None,
        **options,
    )

    @app.get("/openapi.json", include_in_schema=False)
    async def get_document() -> Response:
        return Response(app.document, media_type="application/json")

    return app


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the path, method and operation of each route."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _operation_id(route: APIRoute) -> str:
    """The function's name; a deprecated route of the same function gets a different id."""
    return f"{route.name}_deprecated" if route.deprecated else route.name


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    components = document.setdefault("components", {})
    schemas: dict[str, Any] = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's, which are never sent
        schemas.pop(name, None)
    schemas |= models_json_schema(_MODELS, ref_template=_REF)[1].get("$defs", {})
    problem = ProblemDocument.model_json_schema(ref_template=_REF)
    schemas |= {**problem.pop("$defs", {}), "Problem": problem}
    for schema in schemas.values():
        for name, field in schema.get("properties", {}).items():
            if name in _EXAMPLES and "examples" not in field and _takes(schemas, field, _EXAMPLES[name]):
                field["examples"] = [_EXAMPLES[name]]
    components["responses"] = {str(status): _refusal(status) for status in _REFUSALS}
    for _, method, operation in operations(document):
        _complete_operation(schemas, method, operation)
    document["webhooks"] = {name: _webhook(name, event) for name, event in EVENTS.items()}
    return document


def _complete_operation(schemas: dict[str, Any], method: str, operation: dict[str, Any]) -> None:
    answers: dict[str, Any] = operation["responses"]
    if method == "get" and "application/json" in answers.get("200", {}).get("content", {}):
        for status, answer in NOT_MODIFIED.items():
            answers.setdefault(str(status), dict(answer))
    body, parameters = operation.get("requestBody"), operation.get("parameters", ())
    answers.pop("422", None)  # FastAPI's
    statuses = [*_EVERY, *(_WITH_KEY if operation.get("security") else ())]
    statuses += _WITH_INPUT if body or parameters else ()
    statuses += _WITH_BODY if body else ()
    statuses += _WITH_ID if any(each["in"] == "path" for each in parameters) else ()
    statuses += _WITH_RANGE if any(each["name"] == "range" for each in parameters) else ()
    statuses += [status for tag in operation.get("tags", ()) for status in _WITH_TAG.get(tag, ())]
    for status in statuses:
        answers.setdefault(str(status), {})
    if "206" in answers:
        answers["206"].setdefault("content", answers["200"].get("content", {}))
    for status, answer in answers.items():
        if int(status) >= 400 and not answer.get("content"):
            answers[status] = {"$ref": f"#/components/responses/{status}"}
            continue
        headers = {name: _header(meaning, always) for name, always, meaning in _HEADERS.get(int(status), ())}
        more = {
            **_ALWAYS,
            **(_WITH_RATE if operation.get("security") else {}),
            **(_DEPRECATED if operation.get("deprecated") else {}),
            **(_WITH_ETAG if "304" in answers and int(status) < 400 else {}),
        }
        headers |= {name: _header(meaning, always=True) for name, meaning in more.items()}
        answer["headers"] = headers | answer.get("headers", {})
        _add_examples(schemas, answer)
    operation["responses"] = dict(sorted(answers.items()))
    if body:
        _add_examples(schemas, body)


def _refusal(status: int) -> dict[str, Any]:
    code, description = _REFUSALS[status]
    example = {
        "type": type_of(code),
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": description,
        "code": code,
        "remedy": "What to do.",
        "instance": _EXAMPLES["instance"],
        "request_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    }
    content = {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}, "example": example}}
    headers = {name: _header(meaning, always) for name, always, meaning in _HEADERS.get(status, ())}
    headers |= {name: _header(meaning, always=False) for name, meaning in (_ALWAYS | _WITH_RATE).items()}
    return {"description": description, "content": content, "headers": headers}


def _header(meaning: str, always: bool) -> dict[str, Any]:
    return {"description": meaning, "required": always, "schema": {"type": "string"}}


def _add_examples(schemas: dict[str, Any], holder: dict[str, Any]) -> None:
    """Add an example for each media type that has a schema, unless the route has one."""
    for kind, media in holder.get("content", {}).items():
        if not media.get("schema"):
            media["schema"] = {"type": "string"} if kind.startswith("text/") else {}
        elif kind.endswith("json") and not media.keys() & {"example", "examples"}:
            media["example"] = _example(schemas, media["schema"])


def _example(schemas: dict[str, Any], schema: dict[str, Any], depth: int = 0) -> Any:
    if "$ref" in schema:
        return _example(schemas, schemas[schema["$ref"].rpartition("/")[2]], depth)
    if schema.get("examples"):
        return schema["examples"][0]
    for name in ("const", "default"):
        if name in schema:
            return schema[name]
    if "enum" in schema:
        return schema["enum"][0]
    for name in ("anyOf", "oneOf", "allOf"):
        if schema.get(name):
            return _example(schemas, schema[name][0], depth)
    if "prefixItems" in schema:
        return [_example(schemas, each, depth + 1) for each in schema["prefixItems"]]
    match schema.get("type"):
        case "object" if depth < _DEPTH:
            return {name: _example(schemas, field, depth + 1) for name, field in schema.get("properties", {}).items()}
        case "array":
            return [_example(schemas, schema["items"], depth + 1)] if depth < _DEPTH and schema.get("items") else []
        case "boolean":
            return False
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "string":
            return _FORMATS.get(schema.get("format", ""), "...")
    return {}


def _takes(schemas: dict[str, Any], schema: dict[str, Any], value: Any) -> bool:
    """Whether a field's type allows this value."""
    if "$ref" in schema:
        return _takes(schemas, schemas[schema["$ref"].rpartition("/")[2]], value)
    if "anyOf" in schema:
        return any(_takes(schemas, each, value) for each in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    if schema.get("format") in ("uuid", "date-time"):
        return False
    kinds: dict[str, tuple[type, ...]] = {
        "string": (str,),
        "integer": (int,),
        "number": (int, float),
        "object": (dict,),
        "array": (list,),
        "null": (type(None),),
    }
    return isinstance(value, kinds.get(schema.get("type", ""), ()))


def _webhook(name: str, event: type[BaseModel]) -> dict[str, Any]:
    """Describe an event as a webhook, in the form of Standard Webhooks."""
    sent = {
        "webhook-id": "The same for all attempts to deliver an event; ignore duplicates.",
        "webhook-timestamp": "Time of this attempt, in Unix seconds.",
        "webhook-signature": "HMAC-SHA256 of id.timestamp.body, one for each secret.",
    }
    return {
        "post": {
            "operationId": f"on_{name.replace('.', '_')}",
            "tags": ["callbacks"],
            "summary": event.__doc__,
            "parameters": [
                {"name": header, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
                for header, text in sent.items()
            ],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"$ref": _REF.format(model=event.__name__)}}},
            },
            "responses": {
                "2XX": {"description": "The event was accepted."},
                "410": {"description": "The receiver will never accept this event."},
                "default": {"description": "The event is sent again later."},
            },
        }
    }
