"""A stand-in for a Kubernetes cluster, for the real Prefect worker: an API server, a scheduler, the job controller, and
a kubelet whose pods are local processes.

    with Cluster(folder, nodes=[Node("cpu-1", {"cpu": "8", "memory": "32Gi"})], image=Image(workdir, env)) as cluster:
        kubeconfig = cluster.kubeconfig(User("worker", rules=(...)))

It does: discovery; get, list (paged), watch (bookmarks, 410 on versions too old), create, update, merge patch and
delete (grace, propagation, finalizers, owner references) of jobs, pods, secrets and events; bearer tokens and rights
per namespace; access reviews; bodies checked strictly against Kubernetes' own schema; taints, tolerations, node
selectors, node affinity, extended resources; jobs with their limits, deadlines and time to live; pod logs; SIGTERM,
grace, SIGKILL.

It does not do:

* Images. Every image is the one folder and environment given to the cluster; `python` is the venv's.
* Mounts. Each volume is a separate folder, and environment values below a mount's path are changed to point there.
  Paths that are constants in the program do not exist. A claim is a folder given to the cluster; sizes are ignored.
* Isolation: no users, no read-only root, no dropped capabilities, no CPU and memory limits. `oom_kill` simulates one.
* Networks, services, service accounts' tokens, probes, init containers, side cars, restarts within a pod.
* Job features beyond those named: indexes, pod failure policies, back-off delays, suspension.
* TLS, other API versions, server-side apply, field selectors.
"""

from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.kubelet import Image
from tests.support.kubernetes.rbac import Rule, User
from tests.support.kubernetes.scheduler import Node, Taint

__all__ = ["Cluster", "Image", "Node", "Rule", "Taint", "User"]
