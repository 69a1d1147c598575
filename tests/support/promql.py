"""What a PromQL expression asks for, by a real parser: the series it selects, and by which labels."""

from collections.abc import Iterator

import promql_parser

_PARTS = ("expr", "lhs", "rhs", "param", "args", "vector_selector")
# What Grafana puts in; any window does for a parser.
_VARIABLES = {"$__rate_interval": "5m", "$__range": "6h", "$__interval": "15s"}


def series(expression: str) -> list[tuple[str, set[str]]]:
    """Name of each series that is selected, and the labels it is matched by. Raises `ValueError` if it is no PromQL."""
    for variable, window in _VARIABLES.items():
        expression = expression.replace(variable, window)
    selectors = _selectors(promql_parser.parse(expression))
    return [(one.name or "", {match.name for match in one.matchers.matchers}) for one in selectors]


def _selectors(node: object) -> Iterator[promql_parser.VectorSelector]:
    if isinstance(node, promql_parser.VectorSelector):
        yield node
        return
    for part in _PARTS:
        inner = getattr(node, part, None)
        for one in inner if isinstance(inner, list) else [inner]:
            if one is not None:
                yield from _selectors(one)
