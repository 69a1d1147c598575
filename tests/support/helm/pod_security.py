"""Kubernetes' Pod Security Standards, profile "restricted", as the API server would enforce it on a namespace.

From https://kubernetes.io/docs/concepts/security/pod-security-standards/; Linux pods only.
"""

from typing import Any

VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
SECCOMP = {"RuntimeDefault", "Localhost"}


def violations(pod: dict[str, Any]) -> list[str]:
    """The reasons why a pod with this spec would be refused."""
    common = pod.get("securityContext", {})
    found = [f"{field} is true" for field in ("hostNetwork", "hostPID", "hostIPC") if pod.get(field)]
    for volume in pod.get("volumes", ()):
        found += [f"volume {volume['name']} is a {kind}" for kind in volume if kind != "name" and kind not in VOLUMES]
    if common.get("runAsUser") == 0:
        found.append("the pod runs as root")
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        own = container.get("securityContext", {})
        name, capabilities = container["name"], own.get("capabilities", {})
        # A container's field takes precedence over its pod's.
        if own.get("runAsNonRoot", common.get("runAsNonRoot")) is not True:
            found.append(f"{name}: runAsNonRoot is not true")
        if own.get("runAsUser") == 0:
            found.append(f"{name} runs as root")
        if own.get("seccompProfile", common.get("seccompProfile", {})).get("type") not in SECCOMP:
            found.append(f"{name}: no seccompProfile")
        if own.get("allowPrivilegeEscalation") is not False:
            found.append(f"{name}: allowPrivilegeEscalation is not false")
        if own.get("privileged"):
            found.append(f"{name} is privileged")
        if "ALL" not in capabilities.get("drop", ()):
            found.append(f"{name}: capabilities are not dropped")
        if set(capabilities.get("add", ())) - {"NET_BIND_SERVICE"}:
            found.append(f"{name}: capabilities are added")
        if any("hostPort" in port for port in container.get("ports", ())):
            found.append(f"{name}: a port of the node")
    return found
