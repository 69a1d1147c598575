"""The cluster's state: objects by kind, namespace and name, and every change to them, numbered."""

import asyncio
import copy
import secrets
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, NamedTuple

Object = dict[str, Any]

_KEPT_CHANGES = 1000  # a watch that continues from an earlier version gets 410 Gone


class ApiError(Exception):
    """An answer other than success, as the API server words it."""

    def __init__(self, code: HTTPStatus, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message

    @property
    def status(self) -> Object:
        """The Status object."""
        return {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code.value,
        }  # fmt: skip


class Change(NamedTuple):
    """One entry of the history."""

    version: int
    type: str
    resource: str
    object: Object


class Store:
    """Objects are copied in and out. Only ``finalizers`` and a pod's grace period keep a deleted one."""

    def __init__(self) -> None:
        self.version = 1000
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._changes: deque[Change] = deque(maxlen=_KEPT_CHANGES)
        self._bell = asyncio.Event()

    def get(self, resource: str, namespace: str, name: str) -> Object:
        """The object; ApiError 404."""
        if (found := self._objects.get((resource, namespace, name))) is None:
            raise ApiError(HTTPStatus.NOT_FOUND, "NotFound", f'{resource} "{name}" not found')
        return copy.deepcopy(found)

    def list(self, resource: str, namespace: str | None = None, selector: str = "") -> list[Object]:
        """Objects that match, by namespace and name."""
        found = sorted((key, one) for key, one in self._objects.items() if key[0] == resource)
        return [
            copy.deepcopy(one) for (_, where, _), one in found if namespace in (None, where) and selected(one, selector)
        ]

    def create(
        self, resource: str, namespace: str, new: Object, defaults: Callable[[Object], Object] = lambda new: new
    ) -> Object:
        """Name, complete and keep a new object; ApiError 409."""
        new = copy.deepcopy(new)
        metadata = new.setdefault("metadata", {})
        name = metadata.setdefault("name", metadata.get("generateName", "") + secrets.token_hex(3)[:5])
        if (resource, namespace, name) in self._objects:
            raise ApiError(HTTPStatus.CONFLICT, "AlreadyExists", f'{resource} "{name}" already exists')
        metadata |= {"namespace": namespace, "uid": str(uuid.uuid4()), "creationTimestamp": now()}
        return self._keep("ADDED", resource, defaults(new))

    def replace(self, resource: str, namespace: str, name: str, new: Object) -> Object:
        """Replace an object; ApiError 404, or 409 if another client changed it in the meantime."""
        old, new = self.get(resource, namespace, name), copy.deepcopy(new)
        version = new.setdefault("metadata", {}).get("resourceVersion")
        if version not in (None, old["metadata"]["resourceVersion"]):
            raise ApiError(HTTPStatus.CONFLICT, "Conflict", f'{resource} "{name}": the object has been modified')
        for fixed in ("name", "namespace", "uid", "creationTimestamp"):
            new["metadata"][fixed] = old["metadata"][fixed]
        if new == old:
            return old
        if _may_go(new):
            return self._remove(resource, new)
        return self._keep("MODIFIED", resource, new)

    def patch(self, resource: str, namespace: str, name: str, patch: Object) -> Object:
        """RFC 7386 merge patch; ApiError 404, 409."""
        return self.replace(resource, namespace, name, merged(self.get(resource, namespace, name), patch))

    def delete(self, resource: str, namespace: str, name: str, grace: float = 0, finalizer: str = "") -> Object:
        """Delete an object, or mark it as terminating if finalizers remain; ApiError 404."""
        old = self.get(resource, namespace, name)
        metadata = old["metadata"]
        if finalizer:
            metadata["finalizers"] = [*metadata.get("finalizers", []), finalizer]
        metadata.setdefault("deletionTimestamp", now())
        metadata["deletionGracePeriodSeconds"] = min(grace, metadata.get("deletionGracePeriodSeconds", grace))
        return self.replace(resource, namespace, name, old)

    def changes(self, resource: str, since: int) -> Iterator[Change]:
        """Changes to a kind of object after a version; ApiError 410 if that version is too old."""
        if self._changes and since < self._changes[0].version - 1 and len(self._changes) == _KEPT_CHANGES:
            raise ApiError(HTTPStatus.GONE, "Expired", f"too old resource version: {since}")
        return (one for one in tuple(self._changes) if one.version > since and one.resource == resource)

    async def watch(self, resource: str, since: int) -> AsyncIterator[Change]:
        """The same, followed by future changes."""
        while True:
            changed = self.changed
            for one in self.changes(resource, since):
                yield one
            since = self.version
            await changed.wait()

    @property
    def changed(self) -> asyncio.Event:
        """Set at the next change."""
        return self._bell

    def ring(self) -> None:
        """Wake all waiting tasks, as after a change."""
        self._bell.set()
        self._bell = asyncio.Event()

    def _keep(self, change: str, resource: str, new: Object) -> Object:
        self._objects[resource, new["metadata"]["namespace"], new["metadata"]["name"]] = new
        return self._noted(change, resource, new)

    def _remove(self, resource: str, old: Object) -> Object:
        del self._objects[resource, old["metadata"]["namespace"], old["metadata"]["name"]]
        return self._noted("DELETED", resource, old)

    def _noted(self, change: str, resource: str, one: Object) -> Object:
        self.version += 1
        one["metadata"]["resourceVersion"] = str(self.version)
        self._changes.append(Change(self.version, change, resource, copy.deepcopy(one)))
        self.ring()
        return copy.deepcopy(one)


def _may_go(one: Object) -> bool:
    metadata = one["metadata"]
    return (
        "deletionTimestamp" in metadata
        and not metadata["deletionGracePeriodSeconds"]
        and not metadata.get("finalizers")
    )


def now() -> str:
    """The current second, in Kubernetes' format."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def selected(one: Object, selector: str) -> bool:
    """Whether labels match ``a=b,c,!d,e!=f``."""
    labels = one["metadata"].get("labels") or {}
    for term in filter(None, selector.split(",")):
        key, unequal, value = term.partition("!=")
        if unequal:
            matches = labels.get(key) != value
        elif term.startswith("!"):
            matches = term[1:] not in labels
        else:
            key, equal, value = term.replace("==", "=").partition("=")
            matches = labels.get(key) == value if equal else key in labels
        if not matches:
            return False
    return True


def merged(old: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result
