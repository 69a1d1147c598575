"""Authorization: bearer tokens, and rights per namespace."""

import secrets
from dataclasses import dataclass, field
from typing import NamedTuple


class Rule(NamedTuple):
    """A right. ``namespace`` None: all namespaces; ``resource`` may name a subresource (pods/log); "*": any verb."""

    namespace: str | None
    group: str
    resource: str
    verbs: frozenset[str]


@dataclass(frozen=True)
class User:
    """A service account and its token."""

    name: str
    rules: tuple[Rule, ...] = ()
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    def may(self, verb: str, group: str, resource: str, namespace: str | None) -> bool:
        """Whether a rule allows it; without a namespace, in all of them."""
        return any(
            rule.namespace in (None, namespace)
            and (rule.group, rule.resource) == (group, resource)
            and not rule.verbs.isdisjoint((verb, "*"))
            for rule in self.rules
        )
