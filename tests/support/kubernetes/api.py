"""The API server: HTTP for the store, as far as the Prefect worker and its observer use it."""

import asyncio
import base64
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, NamedTuple

import kubernetes_validate
from aiohttp import web

from tests.support.kubernetes.jobs import delete_job, delete_pod, with_defaults
from tests.support.kubernetes.kubelet import Kubelet
from tests.support.kubernetes.rbac import User
from tests.support.kubernetes.scheduler import quantity
from tests.support.kubernetes.store import ApiError, Object, Store, selected

VERSION = "1.34"
BOOKMARK_SECONDS = 20

_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]


class Kind(NamedTuple):
    """A resource of the API."""

    group: str
    name: str
    kind: str
    namespaced: bool = True


KINDS = (
    Kind("", "pods", "Pod"),
    Kind("", "secrets", "Secret"),
    Kind("", "events", "Event"),
    Kind("", "namespaces", "Namespace", namespaced=False),
    Kind("batch", "jobs", "Job"),
    # kopf waits for this field without saying so.
    Kind("apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False),
    Kind("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False),
    Kind("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview", namespaced=False),
)


class Address(NamedTuple):
    """The parts of a path."""

    kind: Kind
    namespace: str | None
    name: str
    subresource: str

    @property
    def resource(self) -> str:
        """The name used in rules."""
        return f"{self.kind.name}/{self.subresource}" if self.subresource else self.kind.name


class Api:
    """Answers one request; ``users`` by token."""

    def __init__(self, store: Store, kubelet: Kubelet) -> None:
        self.store, self.kubelet = store, kubelet
        self.users: dict[str, User] = {}

    def application(self) -> web.Application:
        """The ASGI application."""
        application = web.Application(client_max_size=4 * 1024**2)
        application.router.add_route("*", "/{path:.*}", self.answer)
        return application

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Any request; errors as Status objects."""
        try:
            user = self._user(request)
            if found := _discovery(request.path):
                return web.json_response(found)
            return await self._act(request, user, _address(request.path))
        except ApiError as error:
            return web.json_response(error.status, status=error.code)

    def _user(self, request: web.Request) -> User:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self.users:
            raise ApiError(HTTPStatus.UNAUTHORIZED, "Unauthorized", "Unauthorized")
        return self.users[token]

    async def _act(self, request: web.Request, user: User, address: Address) -> web.StreamResponse:
        if address.kind.name == "selfsubjectaccessreviews" and request.method == "POST":
            return web.json_response(_review(user, await _body(request)), status=HTTPStatus.CREATED)
        verb = _verb(request, address)
        if not user.may(verb, address.kind.group, address.resource, address.namespace):
            where = f' in the namespace "{address.namespace}"' if address.namespace else " at the cluster scope"
            what = f'resource "{address.resource}" in API group "{address.kind.group}"{where}'
            message = f'{address.kind.name} is forbidden: User "{user.name}" cannot {verb} {what}'
            raise ApiError(HTTPStatus.FORBIDDEN, "Forbidden", message)
        if address.kind.name == "subjectaccessreviews":
            body = await _body(request)
            about = next((one for one in self.users.values() if one.name == body["spec"]["user"]), User("nobody"))
            return web.json_response(_review(about, body), status=HTTPStatus.CREATED)
        if verb == "watch":
            return await self._watch(request, address)
        if address.subresource == "log" and verb == "get":
            return self._log(request, address)
        do: dict[str, Callable[[web.Request, Address, Object], Object]] = {
            "get": lambda _request, address, _body: self.store.get(*_key(address)),
            "list": self._list,
            "create": self._create,
            "update": lambda _request, address, body: self.store.replace(*_key(address), body),
            "patch": lambda _request, address, body: self.store.patch(*_key(address), body),
            "delete": self._delete,
        }
        answer = do[verb](request, address, await _body(request))
        return web.json_response(answer, status=HTTPStatus.CREATED if verb == "create" else HTTPStatus.OK)

    def _list(self, request: web.Request, address: Address, _body: Object) -> Object:
        found = self.store.list(address.kind.name, address.namespace, request.query.get("labelSelector", ""))
        start = int(base64.b64decode(request.query.get("continue", "") or "MA=="))
        end = start + (int(request.query.get("limit", 0)) or len(found))
        token = base64.b64encode(str(end).encode()).decode() if end < len(found) else ""
        return {
            "kind": f"{address.kind.kind}List",
            "apiVersion": _api_version(address.kind),
            "metadata": {"resourceVersion": str(self.store.version), "continue": token},
            "items": found[start:end],
        }

    async def _watch(self, request: web.Request, address: Address) -> web.StreamResponse:
        since = int(request.query.get("resourceVersion") or self.store.version)
        selector = request.query.get("labelSelector", "")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)

        async def send(kind: str, one: Object) -> None:
            await response.write(json.dumps({"type": kind, "object": one}).encode() + b"\n")

        async def bookmarks() -> None:
            empty = {"kind": address.kind.kind, "apiVersion": _api_version(address.kind)}
            while True:
                await asyncio.sleep(BOOKMARK_SECONDS)
                await send("BOOKMARK", {**empty, "metadata": {"resourceVersion": str(self.store.version)}})

        marking = asyncio.create_task(bookmarks()) if "allowWatchBookmarks" in request.query else None
        try:
            async with asyncio.timeout(float(request.query.get("timeoutSeconds", 3600))):
                async for change in self.store.watch(address.kind.name, since):
                    inside = address.namespace in (None, change.object["metadata"]["namespace"])
                    if inside and selected(change.object, selector):
                        await send(change.type, change.object)
        except ApiError as error:
            await send("ERROR", error.status)
        except (TimeoutError, ConnectionError):
            pass
        finally:
            if marking:
                marking.cancel()
        return response

    def _create(self, _request: web.Request, address: Address, body: Object) -> Object:
        kind, namespace = address.kind, address.namespace or ""
        if namespace not in {one["metadata"]["name"] for one in self.store.list("namespaces")}:
            raise ApiError(HTTPStatus.NOT_FOUND, "NotFound", f'namespaces "{namespace}" not found')
        body = {"apiVersion": _api_version(kind), "kind": kind.kind, **body}
        _validate(body)
        return self.store.create(kind.name, namespace, body, with_defaults if kind.name == "jobs" else _as_it_is)

    def _delete(self, request: web.Request, address: Address, body: Object) -> Object:
        def option(name: str) -> Any:
            return body.get(name, request.query.get(name))

        resource, namespace, name = _key(address)
        if resource == "jobs":
            return delete_job(self.store, namespace, name, option("propagationPolicy") or "Orphan")
        if resource == "pods":
            grace = option("gracePeriodSeconds")
            return delete_pod(self.store, namespace, name, None if grace is None else float(grace))
        return self.store.delete(resource, namespace, name)

    def _log(self, request: web.Request, address: Address) -> web.Response:
        pod = self.store.get("pods", address.namespace or "", address.name)
        log = self.kubelet.log(pod)
        if request.query.get("previous") == "true" or not log.exists():
            message = f'container in pod "{address.name}" not found'
            raise ApiError(HTTPStatus.BAD_REQUEST, "BadRequest", message)
        lines = log.read_text(errors="replace").splitlines(keepends=True)
        return web.Response(text="".join(lines[-int(request.query.get("tailLines", len(lines))) :]))


def _as_it_is(new: Object) -> Object:
    return new


def _key(address: Address) -> tuple[str, str, str]:
    return address.kind.name, address.namespace or "", address.name


def _verb(request: web.Request, address: Address) -> str:
    if request.method == "GET" and not address.name:
        return "watch" if request.query.get("watch") in ("true", "True", "1") else "list"
    try:
        return {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[request.method]
    except KeyError:
        raise ApiError(HTTPStatus.METHOD_NOT_ALLOWED, "MethodNotAllowed", request.method) from None


async def _body(request: web.Request) -> Object:
    if not (text := await request.read()):
        return {}
    try:
        return dict(json.loads(text))
    except ValueError as error:
        raise ApiError(HTTPStatus.BAD_REQUEST, "BadRequest", str(error)) from error


def _address(path: str) -> Address:
    parts = path.strip("/").split("/")
    if parts[:2] == ["api", "v1"]:
        group, parts = "", parts[2:]
    elif parts[0] == "apis" and len(parts) > 3 and parts[2] == "v1":
        group, parts = parts[1], parts[3:]
    else:
        parts, group = [], ""
    namespace = None
    if len(parts) > 2 and parts[0] == "namespaces":
        namespace, parts = parts[1], parts[2:]
    name, subresource = [*parts[1:], "", ""][:2]
    for kind in KINDS:
        if parts and (kind.group, kind.name) == (group, parts[0]):
            return Address(kind, namespace, name, subresource)
    raise ApiError(HTTPStatus.NOT_FOUND, "NotFound", "the server could not find the requested resource")


def _api_version(kind: Kind) -> str:
    return f"{kind.group}/v1" if kind.group else "v1"


def _discovery(path: str) -> Object | None:
    """Groups, versions and resources, visible to every user."""
    groups = sorted({kind.group for kind in KINDS if kind.group})
    if path == "/version":
        major, minor = VERSION.split(".")
        return {"major": major, "minor": minor, "gitVersion": f"v{VERSION}.0"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        versions = {group: {"groupVersion": f"{group}/v1", "version": "v1"} for group in groups}
        listed = [
            {"name": group, "versions": [version], "preferredVersion": version} for group, version in versions.items()
        ]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
    for group in ["", *groups]:
        if path == (f"/apis/{group}/v1" if group else "/api/v1"):
            resources = [
                {"name": one.name, "singularName": "", "namespaced": one.namespaced, "kind": one.kind, "verbs": _VERBS}
                for one in KINDS
                if one.group == group
            ]
            version = f"{group}/v1" if group else "v1"
            return {"kind": "APIResourceList", "groupVersion": version, "resources": resources}
    return None


def _review(user: User, body: Object) -> Object:
    asked = body["spec"]["resourceAttributes"]
    resource = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
    allowed = user.may(asked["verb"], asked.get("group", ""), resource, asked.get("namespace"))
    return {**body, "status": {"allowed": allowed}}


def _validate(body: Object) -> None:
    """Stricter than a real server, which drops unknown fields."""
    try:
        kubernetes_validate.validate(body, VERSION, strict=True)
        if body["kind"] == "Job":
            _validate_pod(body["spec"]["template"]["spec"])
    except (kubernetes_validate.ValidationError, ValueError) as error:
        message = f"{body['kind']} is invalid: {getattr(error, 'message', error)}"
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid", message) from error


def _validate_pod(spec: Object) -> None:
    """Checks beyond the schemas."""
    if spec.get("restartPolicy") not in ("Never", "OnFailure"):
        raise ValueError('spec.template.spec.restartPolicy: valid values are "Never" and "OnFailure"')
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    for container in spec["containers"]:
        limits = container.get("resources", {}).get("limits", {})
        for name, amount in container.get("resources", {}).get("requests", {}).items():
            if name in limits and quantity(amount) > quantity(limits[name]):
                raise ValueError(f"resources.requests: {name} must be less than or equal to its limit")
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                raise ValueError(f"volumeMounts: no volume is named {mount['name']}")
