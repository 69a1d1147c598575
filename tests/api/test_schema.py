"""The OpenAPI document: the API returns only documented responses to all requests that it allows, and to others."""

import ast
import copy
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.datastructures import Headers

from docs.contract import find_breaking_changes
from docs.render_docs import render_document
from stenopool.api.app import create_app
from stenopool.api.problems import API_CODES
from stenopool.errors import ErrorCode
from stenopool.settings import ApiSettings
from tests.support.api_server import Api, secret
from tests.support.contract import Contract

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
PACKAGE = Path(__file__).parents[2] / "stenopool"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return render_document()


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for path in document["paths"].values() for operation in path.values()]


def resolve(document: dict[str, Any], thing: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in thing:
        return thing
    found: Any = document
    for part in thing["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def test_the_served_document_is_valid(api: Api, document: dict[str, Any]) -> None:
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    assert httpx.get(f"{api.url}/openapi.json").json() == document


def test_every_operation_has_an_id_a_tag_and_a_description(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"] if tag["description"]}
    names = [operation["operationId"] for operation in operations(document)]
    assert len(set(names)) == len(names)
    for operation in operations(document):
        assert operation["description"], operation["operationId"]
        assert set(operation["tags"]) <= tags, operation["operationId"]
        assert "_" in operation["operationId"], "a verb and what it is done to"
    assert document["info"]["license"]
    assert document["info"]["contact"]
    assert document["servers"]


def test_every_field_and_parameter_is_described(document: dict[str, Any]) -> None:
    lacking = [
        f"{name}.{field}"
        for name, schema in document["components"]["schemas"].items()
        for field, content in schema.get("properties", {}).items()
        if not resolve(document, content).get("description") and not content.get("description")
    ]
    for operation in operations(document):
        lacking += [
            f"{operation['operationId']}({parameter['name']})"
            for parameter in operation.get("parameters", ())
            if not parameter.get("description") and parameter["name"] != "id"
        ]
        form = operation.get("requestBody", {}).get("content", {}).get("multipart/form-data", {}).get("schema", {})
        lacking += [
            f"{operation['operationId']}: {name}"
            for name, field in form.get("properties", {}).items()
            if not field.get("description")
        ]
    assert lacking == []


def test_every_refusal_is_a_problem_with_a_schema_and_an_example(document: dict[str, Any]) -> None:
    for operation in operations(document):
        secured = bool(operation.get("security"))
        statuses = set(operation["responses"])
        assert statuses >= {"413", "500", "503", *(("401", "403", "429") if secured else ())}, operation["operationId"]
        for status, answer in operation["responses"].items():
            content = resolve(document, answer).get("content", {})
            if status >= "400" and "health" not in operation["tags"]:
                assert set(content) == {"application/problem+json"}, (operation["operationId"], status)
    problem = document["components"]["schemas"]["Problem"]
    assert {"type", "title", "status", "detail", "code", "remedy", "instance"} <= set(problem["required"])


def test_every_json_has_a_valid_example(document: dict[str, Any]) -> None:
    checked = 0
    for operation in operations(document):
        for holder in [operation.get("requestBody", {}), *operation["responses"].values()]:
            for kind, media in resolve(document, holder).get("content", {}).items():
                if not kind.endswith("json"):
                    continue
                examples = [media["example"]] if "example" in media else []
                examples += [example["value"] for example in media.get("examples", {}).values()]
                assert examples, (operation["operationId"], kind)
                schema = {**media["schema"], "components": document["components"]}
                for example in examples:
                    faults = [error.message for error in Draft202012Validator(schema).iter_errors(example)]
                    assert faults == [], (operation["operationId"], example)
                    checked += 1
    assert checked > 30


def test_the_document_has_options_transcripts_and_callbacks(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert {"TranscriptionOptions", "Transcript", "Segment", "Word"} <= set(schemas)
    transcript = document["paths"]["/v1/recordings/{id}/transcript"]["get"]["responses"]["200"]["content"]
    assert transcript["application/json"]["schema"] == {"$ref": "#/components/schemas/Transcript"}
    for event in document["webhooks"].values():
        body = resolve(document, event["post"]["requestBody"]["content"]["application/json"]["schema"])
        assert {"type", "timestamp", "data"} <= set(body["properties"])


def test_every_raised_code_is_documented() -> None:
    """docs/errors.md is generated from that list, and `type` links to it."""
    raised = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Problem", "invalid"):
                raised |= {each.value for each in node.args[1:2] if isinstance(each, ast.Constant)}
    assert "UNAUTHENTICATED" in raised
    assert sorted(raised - set(API_CODES) - set(ErrorCode)) == []


def test_undocumented_responses_are_detected(tmp_path: Path) -> None:
    """Each test of the API compares all responses with the document, so the comparison must be able to fail."""
    contract = Contract(create_app(ApiSettings(source=str(tmp_path), destination=str(tmp_path))))
    operation = contract._document["paths"]["/v1/about"]["get"]
    about = b'{"version": "1", "name": "a", "scopes": [], "prefix": "", "with_keys": true}'
    sent = dict.fromkeys(("X-Request-Id", "RateLimit", "RateLimit-Policy", "ETag"), "x")
    json, problem = (Headers({"content-type": f"application/{kind}", **sent}) for kind in ("json", "problem+json"))
    assert contract.compare(operation, 200, json, about) == []
    assert contract.compare(operation, 418, json, about)
    assert contract.compare(operation, 200, json, b'{"version": "1"}')
    assert contract.compare(operation, 200, Headers({"content-type": "text/html", **sent}), about)
    assert contract.compare(operation, 200, Headers({"content-type": "application/json"}), about)
    assert contract.compare(operation, 401, json, b"{}")
    assert contract.compare(operation, 401, problem, b"{}")


def test_generated_requests_get_documented_responses(api: Api) -> None:
    """With a key that has all scopes: no status, type, header or body that the document lacks, and no server error."""
    schema = schemathesis.openapi.from_url(f"{api.url}/openapi.json")
    asked = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=12,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        )
        @given(operation.as_strategy())
        def ask(case: schemathesis.Case) -> None:
            answer = case.call(headers={"Authorization": f"Bearer {secret('boss')}"}, timeout=30)
            # Nobody transcribes here, so a file that begins like audio waits as long as a request may.
            late = answer.status_code == HTTPStatus.GATEWAY_TIMEOUT and answer.json()["code"] == "STILL_WORKING"
            case.validate_response(
                answer, checks=[check for check in CHECKS if not late or check is not not_a_server_error]
            )

        ask()
        asked += 1
    assert asked == len(operations(schema.raw_schema))


# docs/api.md says what may change within /v1; here is each kind of change.

BASE: dict[str, Any] = {
    "paths": {
        "/v1/a": {
            "get": {
                "parameters": [{"name": "q", "in": "query", "schema": {"type": "string", "enum": ["x", "y"]}}],
                "responses": {
                    "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Out"}}}}
                },
            },
            "post": {
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/In"}}}},
                "responses": {"202": {"headers": {"Location": {"required": True}}}},
            },
        },
        "/v1/old": {"get": {"deprecated": True, "responses": {}}},
    },
    "webhooks": {
        "e": {
            "post": {"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Out"}}}}}
        }
    },
    "components": {
        "schemas": {
            "Out": {
                "type": "object",
                "required": ["id", "state"],
                "properties": {"id": {"type": "string"}, "state": {"enum": ["a", "b"]}, "more": {"type": "integer"}},
            },
            "In": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "n": {"type": "integer", "maximum": 10},
                    "t": {"type": "number", "enum": [0, 1]},
                    "s": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                },
            },
        }
    },
}


def change(path: str, value: Any) -> dict[str, Any]:
    """A copy with another value at a dotted path; None removes it."""
    changed: Any = copy.deepcopy(BASE)
    *parents, last = path.split(">")
    at = changed
    for part in parents:
        at = at[int(part) if part.isdecimal() and isinstance(at, list) else part]
    key: Any = int(last) if isinstance(at, list) else last
    if value is None:
        del at[key]
    else:
        at[key] = value
    return dict(changed)


OUT, IN = "components>schemas>Out", "components>schemas>In"
GET, POST = "paths>/v1/a>get", "paths>/v1/a>post"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("paths>/v1/a", None),
        (GET, None),
        (f"{GET}>parameters", []),
        (f"{GET}>parameters>0>required", True),
        (f"{GET}>parameters>0>schema>enum", ["x"]),
        (f"{GET}>parameters>0>schema", {"type": "integer"}),
        (f"{GET}>responses", {"204": {}}),
        (f"{GET}>responses>200>content", {"text/plain": {}}),
        (f"{GET}>deprecated", True),  # not breaking on its own: see below
        (f"{POST}>responses>202>headers", {}),
        (f"{POST}>requestBody>required", True),
        (f"{POST}>requestBody>content", {"text/plain": {}}),
        (f"{OUT}>properties>more", None),
        (f"{OUT}>properties>id", {"type": "integer"}),
        (f"{OUT}>properties>id", {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        (f"{OUT}>required", ["id"]),
        (f"{IN}>properties>n", None),
        (f"{IN}>required", ["n"]),
        (f"{IN}>properties>n>maximum", 5),
        (f"{IN}>properties>n>minimum", 0),
        (f"{IN}>properties>t", {"type": "number", "minimum": 0.5}),
        (f"{IN}>properties>t", {"type": "number", "maximum": 0.5}),
        (f"{IN}>properties>s", {"type": "string"}),
        (f"{IN}>properties>s>anyOf>0>maxLength", 9),
        ("webhooks>e", None),
    ],
)
def test_breaking_changes_are_detected(path: str, value: Any) -> None:
    found = find_breaking_changes(BASE, change(path, value))
    assert bool(found) == (path != f"{GET}>deprecated"), found


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("paths>/v1/old", None),  # it was deprecated before
        ("paths>/v1/new", {"get": {"responses": {}}}),
        (
            f"{GET}>parameters",
            [*BASE["paths"]["/v1/a"]["get"]["parameters"], {"name": "r", "in": "query", "schema": {}}],
        ),
        (f"{GET}>parameters>0>schema>enum", ["x", "y", "z"]),
        (f"{GET}>responses>404", {}),
        (f"{GET}>summary", "Another."),
        (f"{OUT}>properties>new", {"type": "string"}),
        (f"{OUT}>properties>state>enum", ["a", "b", "c"]),  # clients must expect new values
        (f"{OUT}>required", ["id", "state", "more"]),
        (f"{IN}>properties>new", {"type": "string"}),
        (f"{IN}>properties>n>maximum", 20),
        (f"{IN}>properties>t", {"type": "number", "minimum": 0, "maximum": 1}),
        (f"{IN}>properties>n", {"anyOf": [{"type": "integer", "maximum": 10}, {"type": "string"}]}),
    ],
)
def test_compatible_changes_are_not_breaking(path: str, value: Any) -> None:
    assert find_breaking_changes(BASE, change(path, value)) == []
