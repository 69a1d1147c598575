"""The job controller and the garbage collector: create pods for jobs, and delete both."""

import asyncio
import secrets
from datetime import UTC, datetime

from tests.support.kubernetes.store import Object, Store, now

TRACKING = "batch.kubernetes.io/job-tracking"
FOREGROUND = "foregroundDeletion"


class Jobs:
    """Checks every job after every change, like real controllers: the state decides, not the event."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def reconcile(self) -> None:
        """Bring jobs and pods one step closer to the desired state."""
        for job in self.store.list("jobs"):
            job = self._count(job)
            if FOREGROUND in job["metadata"].get("finalizers", []):
                self._leave(job)
            elif _finished(job):
                self._expire(job)
            else:
                self._advance(job)
        self._collect_garbage()

    def _advance(self, job: Object) -> None:
        status, spec = job["status"], job["spec"]
        alive = [pod for pod in self._pods(job) if pod["status"]["phase"] in ("Pending", "Running")]
        active = [pod for pod in alive if "deletionTimestamp" not in pod["metadata"]]
        failed, succeeded = status.get("failed", 0), status.get("succeeded", 0)
        if succeeded >= spec["completions"]:
            self._finish(job, "Complete", "CompletionsReached", "Reached expected number of succeeded pods")
        elif failed > spec["backoffLimit"]:
            self._delete(active)
            self._finish(job, "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
        elif self._overdue(job):
            self._delete(active)
            self._finish(job, "Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
        elif not (alive if spec["podReplacementPolicy"] == "Failed" else active):
            self._make_pod(job)
            self._set(job, active=1, startTime=status.get("startTime", now()))
        else:
            self._set(job, active=len(active))

    def _count(self, job: Object) -> Object:
        """Finished pods go into the job's status once; their finalizer keeps them until then."""
        for pod in self._pods(job):
            if TRACKING in pod["metadata"].get("finalizers", []) and (outcome := self._outcome(job, pod)):
                if not _finished(job):
                    job = self._set(job, **{outcome: job["status"].get(outcome, 0) + 1})
                self._untie(pod)
        return job

    @staticmethod
    def _outcome(job: Object, pod: Object) -> str | None:
        if pod["status"]["phase"] in ("Failed", "Succeeded"):
            return str(pod["status"]["phase"]).lower()
        # A terminating pod counts as failed at once, unless the job waits for its end.
        going = "deletionTimestamp" in pod["metadata"]
        waits = job["spec"]["podReplacementPolicy"] == "Failed" and not _finished(job)
        return "failed" if going and not waits else None

    def _make_pod(self, job: Object) -> None:
        metadata, template = job["metadata"], job["spec"]["template"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}
        pod: Object = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                **template.get("metadata", {}),
                "name": f"{metadata['name']}-{secrets.token_hex(3)[:5]}",
                "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
                "finalizers": [TRACKING],
            },
            "spec": template["spec"],
            "status": {"phase": "Pending"},
        }
        self.store.create("pods", metadata["namespace"], pod)

    def _finish(self, job: Object, kind: str, reason: str, message: str) -> None:
        condition = {
            "type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now(),
        }  # fmt: skip
        self._set(job, active=0, conditions=[condition], completionTime=now())

    def _overdue(self, job: Object) -> bool:
        started, limit = job["status"].get("startTime"), job["spec"].get("activeDeadlineSeconds")
        return bool(started and limit) and self._passed(started, limit)

    def _expire(self, job: Object) -> None:
        limit = job["spec"].get("ttlSecondsAfterFinished")
        if limit is not None and self._passed(job["status"]["completionTime"], limit):
            delete_job(self.store, job["metadata"]["namespace"], job["metadata"]["name"], "Foreground")

    def _passed(self, since: str, seconds: float) -> bool:
        """Whether the time is over; otherwise everything is checked again when it is."""
        left = seconds - (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()
        if left > 0:
            asyncio.get_running_loop().call_later(left, self.store.ring)
        return left <= 0

    def _leave(self, job: Object) -> None:
        """A job that is deleted in the foreground is removed after its pods."""
        self._delete(self._pods(job))
        if not self._pods(job):
            where, name = job["metadata"]["namespace"], job["metadata"]["name"]
            self.store.patch("jobs", where, name, {"metadata": {"finalizers": []}})

    def _delete(self, pods: list[Object]) -> None:
        for pod in pods:
            if "deletionTimestamp" not in pod["metadata"]:
                delete_pod(self.store, pod["metadata"]["namespace"], pod["metadata"]["name"])

    def _collect_garbage(self) -> None:
        """Objects whose owner is gone are removed too."""
        alive = {one["metadata"]["uid"] for one in self.store.list("jobs")}
        for resource in ("pods", "secrets"):
            for one in self.store.list(resource):
                if _owner(one) and _owner(one) not in alive:
                    if resource == "secrets":
                        self.store.delete(resource, one["metadata"]["namespace"], one["metadata"]["name"])
                    elif TRACKING in one["metadata"].get("finalizers", []):
                        self._untie(one)
                    else:
                        self._delete([one])

    def _pods(self, job: Object) -> list[Object]:
        return [pod for pod in self.store.list("pods") if _owner(pod) == job["metadata"]["uid"]]

    def _untie(self, pod: Object) -> None:
        where, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        self.store.patch("pods", where, name, {"metadata": {"finalizers": []}})

    def _set(self, job: Object, **status: object) -> Object:
        return self.store.patch("jobs", job["metadata"]["namespace"], job["metadata"]["name"], {"status": status})


def with_defaults(job: Object) -> Object:
    """A new job as the API server stores it: defaults, labels with its uid, a status."""
    defaults = {"parallelism": 1, "completions": 1, "backoffLimit": 6, "podReplacementPolicy": "TerminatingOrFailed"}
    spec = {**defaults, **job["spec"]}
    name = job["metadata"]["name"]
    template = dict(spec["template"])
    metadata = dict(template.get("metadata", {}))
    labels = {"job-name": name, "batch.kubernetes.io/job-name": name, "controller-uid": job["metadata"]["uid"]}
    template["metadata"] = {**metadata, "labels": {**metadata.get("labels", {}), **labels}}
    return {**job, "spec": {**spec, "template": template}, "status": {}}


def delete_job(store: Store, namespace: str, name: str, propagation: str) -> Object:
    """Foreground: after its pods. Background: before them. Orphan, the API's own default for jobs: without them."""
    if propagation == "Foreground":
        return store.delete("jobs", namespace, name, finalizer=FOREGROUND)
    if propagation == "Orphan":
        uid = store.get("jobs", namespace, name)["metadata"]["uid"]
        for pod in store.list("pods", namespace):
            if _owner(pod) == uid:
                change: Object = {"metadata": {"ownerReferences": [], "finalizers": []}}
                store.patch("pods", namespace, pod["metadata"]["name"], change)
    return store.delete("jobs", namespace, name)


def delete_pod(store: Store, namespace: str, name: str, grace: float | None = None) -> Object:
    """Request a pod's end within its grace period, or another one. An unscheduled pod is removed at once."""
    pod = store.get("pods", namespace, name)
    if grace is None:
        grace = pod["spec"].get("terminationGracePeriodSeconds", 30)
    if pod["status"]["phase"] not in ("Pending", "Running"):
        grace = 0
    elif not pod["spec"].get("nodeName"):
        grace = 0
        store.patch("pods", namespace, name, {"status": {"phase": "Failed"}})
    else:
        # By force: without a grace period, but the kubelet ends it.
        grace = max(grace, 0.1)
    return store.delete("pods", namespace, name, grace=grace)


def _owner(one: Object) -> str | None:
    for reference in one["metadata"].get("ownerReferences") or []:
        return str(reference["uid"])
    return None


def _finished(job: Object) -> bool:
    return any(one["type"] in ("Complete", "Failed") for one in job["status"].get("conditions", []))
