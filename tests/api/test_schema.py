"""The OpenAPI document and what it promises: asked all that it allows and more, the API never fails by itself."""

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft202012Validator
from schemathesis.checks import not_a_server_error

from tests.support.api_server import Api, secret

OPERATIONS = 30


def test_the_document_describes_every_answer(api: Api) -> None:
    document = httpx.get(f"{api.url}/openapi.json").json()
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len(operations) == OPERATIONS
    assert all(operation["description"] for operation in operations)


def test_nothing_that_one_can_ask_is_our_failure(api: Api) -> None:
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
            case.call_and_validate(
                headers={"Authorization": f"Bearer {secret('boss')}"}, checks=[not_a_server_error], timeout=30
            )

        ask()
        asked += 1
    assert asked == OPERATIONS
