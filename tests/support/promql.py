"""The series that a PromQL expression selects, and by which labels, from a real parser."""

from collections.abc import Iterator

import promql_parser

_PARTS = ("expr", "lhs", "rhs", "param", "args", "vector_selector")
# Variables that Grafana substitutes; any window is valid for a parser.
_VARIABLES = {"$__rate_interval": "5m", "$__range": "6h", "$__interval": "15s"}


def series(expression: str) -> list[tuple[str, set[str]]]:
    """Name of each selected series, and the labels in its matchers. Raises `ValueError` if the expression
    is invalid.
    """
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
