"""Check, during tests, that an API sends only responses that match its OpenAPI document."""

import json
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from jsonschema import Draft202012Validator
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LONGEST = 64 * 1024  # maximum bytes of a body that is compared; longer bodies only repeat


class Contract:
    """Outermost middleware. ``broken``: responses that do not match the document."""

    def __init__(self, app: FastAPI) -> None:
        self.broken: list[str] = []
        self._app: ASGIApp = app
        self._document = app.openapi()
        self._validators: dict[str, Draft202012Validator] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start: Message = {}
        body = bytearray()
        is_whole = False

        async def look(message: Message) -> None:
            nonlocal start, is_whole
            if message["type"] == "http.response.start":
                start = message
            elif len(body) <= _LONGEST:
                body.extend(message.get("body", b""))
            is_whole = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        await self._app(scope, receive, look)
        path = getattr(scope.get("route"), "path", None)
        methods = self._document["paths"].get(path, {})
        method = scope["method"].lower()
        # A response that fails after its start is left without its end.
        if start and is_whole and (operation := methods.get("get" if method == "head" else method)):
            for fault in self.compare(operation, start["status"], Headers(raw=start["headers"]), bytes(body)):
                self.broken.append(f"{scope['method']} {path} answered {start['status']}: {fault}")

    def compare(self, operation: dict[str, Any], status: int, headers: Headers, body: bytes) -> list[str]:
        """The difference between a response and the document."""
        answer = self._resolve(operation["responses"].get(str(status)))
        if answer is None:
            return ["this status is not documented"]
        required = {name for name, header in answer.get("headers", {}).items() if header.get("required")}
        faults = [f"it lacks the header {name}" for name in required if name not in headers]
        kind = headers.get("content-type", "").partition(";")[0]
        documented = answer.get("content", {})
        if not kind or (not body and status in (204, 304)):  # FastAPI also names a type for these
            return faults
        schemas = [media.get("schema", {}) for name, media in documented.items() if _matches(kind, name)]
        if not schemas:
            return [*faults, f"{kind} is not documented, only {', '.join(documented) or 'an empty body'}"]
        if kind.endswith("json") and len(body) <= _LONGEST and body and status != HTTPStatus.PARTIAL_CONTENT:
            validator = self._validators.setdefault(json.dumps(schemas[0]), self._validator(schemas[0]))
            faults += [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(json.loads(body))]
        return faults

    def _validator(self, schema: dict[str, Any]) -> Draft202012Validator:
        return Draft202012Validator({**schema, "components": self._document["components"]})

    def _resolve(self, thing: dict[str, Any] | None) -> dict[str, Any] | None:
        if thing and "$ref" in thing:
            found: Any = self._document
            for part in thing["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            return dict(found)
        return thing


def _matches(kind: str, documented: str) -> bool:
    return documented in (kind, "*/*", f"{kind.partition('/')[0]}/*")
