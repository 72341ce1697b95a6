"""The pods that are tried: those of the component `NodePreflight`, without a Job around them.

What the API server says against a pod is then said at once, and to us.
"""

from typing import Any

from pulumi_buildkit import DaemonArgs, NodePreflight, Security, default_image

from render.recording import Values, record

Pod = dict[str, Any]

CONFINED = "confined"
"""The container that says what the runtime's own seccomp profile leaves of user namespaces."""

_ROOTLESS = "-rootless"


def pod(name: str, security: Security, node: str, image: str | None) -> Pod:
    """The pod *name* that tries a variant on a *node*, by an *image* other than the official one.

    That is named without `-rootless`, which the variant of that name has at its end.
    """
    daemon: DaemonArgs = {"security": security}
    if image:
        official = default_image(security)
        daemon["image"] = f"{image}{_ROOTLESS}" if official.endswith(_ROOTLESS) else image
    recording = record(
        lambda: NodePreflight(
            "preflight", {"namespace": "", "daemon": daemon, "nodes": {"node": node}}
        ),
        _computed,
        "preflight",
        "preflight",
        {},
        (),
    )
    template: Values = recording.one("Job").inputs["spec"]["template"]
    spec = template["spec"]
    if security is Security.ROOTLESS:
        spec = {**spec, "containers": [*spec["containers"], _confined(spec["containers"][0])]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], "name": name},
        # Whatever a node is reserved for, its owner wants to know of it.
        "spec": {**spec, "tolerations": [{"operator": "Exists"}]},
    }


def _computed(name: str, _: str, inputs: Values) -> Values:
    return {"metadata": {"name": name, **inputs["metadata"]}}


def _confined(container: Values) -> Values:
    default = {"type": "RuntimeDefault"}
    return {
        "name": CONFINED,
        "image": container["image"],
        "command": ["sh", "-c", "unshare -U true 2>/dev/null && echo allowed || echo forbidden"],
        "securityContext": {**container["securityContext"], "seccompProfile": default},
    }
