"""The permissions that a Kubernetes worker needs, and which of them are missing.

A worker that cannot watch pods appears healthy: it starts them but never sees their result. So the permissions are
checked separately, with access reviews. Everyone may check their own permissions; administrators may check others'.
"""

import asyncio
import os
from typing import Any, NamedTuple

from stenopool import extras
from stenopool.errors import AccessDenied


class Right(NamedTuple):
    """A verb on a resource, and the consequence of not having the permission."""

    group: str
    resource: str
    verb: str
    without: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"


# If one resource cannot be watched, the whole observer ends, after nine attempts in 54 s.
_UNSEEN = "runs of lost pods stay Running forever"
# For prefect-kubernetes 0.8: the worker creates and deletes jobs, and its observer needs the rest. Secrets are needed
# only with PREFECT_INTEGRATIONS_KUBERNETES_WORKER_CREATE_SECRET_FOR_API_KEY or _STORE_ENV_AS_SECRET, which are not set
# here.
WORKER_RIGHTS = (
    Right("batch", "jobs", "create", "runs cannot start"),
    Right("batch", "jobs", "delete", "pods of runs cancelled before their start are not removed"),
    Right("batch", "jobs", "get", "runs of deleted jobs stay Running"),
    Right("batch", "jobs", "list", _UNSEEN),
    Right("batch", "jobs", "watch", _UNSEEN),
    Right("", "pods", "list", _UNSEEN),
    Right("", "pods", "watch", _UNSEEN),
    Right("", "pods/log", "get", "logs of pods that end before they reach Prefect are lost"),
)


def is_in_pod() -> bool:
    """Whether this process runs in a Kubernetes pod, and so has the credentials of a service account."""
    return "KUBERNETES_SERVICE_HOST" in os.environ


def find_missing_rights(namespace: str, account: str | None = None) -> list[Right]:
    """Permissions that a service account lacks in the namespace.

    ``account``: namespace and name, as in ``stenopool:prefect-worker-gpu``; the caller must be allowed to create access
    reviews. Without it, the permissions of the caller are checked: its pod's service account, or its kubeconfig. Raises
    `SetupError`: EXTRA_MISSING without the extra kubernetes, ACCESS_DENIED if no API server responds.
    """
    extras.require("Access to a Kubernetes cluster", "kubernetes_asyncio", extra="kubernetes")
    return asyncio.run(_find_missing(namespace, account))


async def _find_missing(namespace: str, account: str | None) -> list[Right]:
    from kubernetes_asyncio import client, config

    missing = []
    try:
        try:
            config.load_incluster_config()  # type: ignore[no-untyped-call]
            api = client.ApiClient()
        except config.ConfigException:
            # Passed explicitly: the package reads the variable only when it is imported.
            api = await config.new_client_from_config(os.environ.get("KUBECONFIG"))
        async with api:
            asking = client.AuthorizationV1Api(api)
            for right in WORKER_RIGHTS:
                resource, _, subresource = right.resource.partition("/")
                attributes = client.V1ResourceAttributes(
                    namespace=namespace, verb=right.verb, group=right.group, resource=resource, subresource=subresource
                )
                answer: Any
                if account:
                    groups = ["system:authenticated", "system:serviceaccounts"]
                    groups.append(f"system:serviceaccounts:{account.partition(':')[0]}")
                    user = f"system:serviceaccount:{account}"
                    about = client.V1SubjectAccessReviewSpec(groups=groups, resource_attributes=attributes, user=user)
                    answer = await asking.create_subject_access_review(
                        client.V1SubjectAccessReview(spec=about), _request_timeout=20
                    )
                else:
                    own = client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes)
                    answer = await asking.create_self_subject_access_review(
                        client.V1SelfSubjectAccessReview(spec=own), _request_timeout=20
                    )
                if not answer.status.allowed:
                    missing.append(right)
    except Exception as error:
        raise AccessDenied(
            f"Cannot query permissions from the Kubernetes API server: {type(error).__name__} "
            + str(error).partition("\n")[0],
            remedy="Check KUBECONFIG and its token, or the pod's service account. To check another account than "
            "your own, you need the permission to create subjectaccessreviews.",
        ) from error
    return missing
