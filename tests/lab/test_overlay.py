"""The overlay of a pod against kubectl's own merge: the lab's kubectl, and no cluster."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from pulumi_buildkit.overlay import EXCLUSIVE, MERGE_KEYS

from lab import lifecycle
from tests.unit.test_pod_overlay import buildkitd, laid_over

OVERLAYS: dict[str, dict[str, Any]] = {
    "labels": {"metadata": {"labels": {"team": "a"}, "annotations": {"note": "b"}}},
    "maps": {"spec": {"securityContext": {"supplementalGroups": [7], "fsGroup": None}}},
    "replaced map": {"spec": {"securityContext": {"$patch": "replace", "runAsUser": 5}}},
    "lists": {"spec": {"tolerations": [{"operator": "Exists"}], "affinity": {"podAffinity": None}}},
    "variables": {
        "spec": buildkitd(
            env=[{"name": "CERTS_CA", "value": "a", "valueFrom": None}, {"name": "B"}]
        )
    },
    "deleted items": {"spec": buildkitd(env=[{"$patch": "delete", "name": "CERTS_CA"}])},
    "replaced lists": {"spec": buildkitd(env=[{"$patch": "replace"}, {"name": "B", "value": "b"}])},
    "mounts": {
        "spec": buildkitd(
            volumeMounts=[
                {"mountPath": "/tmp", "subPath": "a", "readOnly": True},
                {"mountPath": "/more", "name": "more"},
            ]
        )
    },
    "ports": {"spec": buildkitd(ports=[{"containerPort": 6060, "name": "debug"}])},
    "probes": {
        "spec": buildkitd(
            livenessProbe={"periodSeconds": 60, "failureThreshold": None},
            readinessProbe={"timeoutSeconds": 5, "httpGet": None},
        )
    },
    "sidecars": {
        "spec": {
            "initContainers": [{"name": "warm", "image": "busybox", "restartPolicy": "Always"}],
            "containers": [{"name": "proxy", "image": "envoy", "env": [{"name": "A"}]}],
        }
    },
    "volumes": {
        "spec": {
            "volumes": [
                {"name": "buildkitd", "hostPath": {"path": "/ssd"}},
                {"name": "writable", "emptyDir": {"medium": "Memory"}},
                {"name": "more", "emptyDir": {"sizeLimit": "1Gi"}},
            ]
        }
    },
    "the rest": {
        "spec": {
            "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["registry"]}],
            "imagePullSecrets": [{"name": "registry"}],
            "topologySpreadConstraints": [
                {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}
            ],
        }
    },
}


@pytest.mark.parametrize("overlay", OVERLAYS.values(), ids=OVERLAYS)
def test_kubectl_lays_it_over_alike(
    overlay: dict[str, Any], lab: lifecycle.Lab, tmp_path: Path
) -> None:
    def patched(document: dict[str, Any], patch: dict[str, Any]) -> Any:
        (tmp_path / "document").write_text(json.dumps(document))
        file = f"--filename={tmp_path / 'document'}"
        patch_flags = ("--type=strategic", f"--patch={json.dumps(patch)}")
        return json.loads(lab.node.kubectl("patch", "--local", file, *patch_flags, "--output=json"))

    asked = {"spec": {"template": retaining(overlay)}}
    # An empty patch, so that both have been through kubectl, which drops what is empty.
    assert unordered(patched(laid_over(overlay), {})) == unordered(patched(laid_over({}), asked))


def retaining(overlay: dict[str, Any]) -> dict[str, Any]:
    """*overlay* with the directive that `kubectl apply` adds where fields exclude each other."""
    asked = copy.deepcopy(overlay)
    for field in EXCLUSIVE:
        for item in asked.get("spec", {}).get(field, []):
            if item["name"] in ("buildkitd", "writable"):
                item["$retainKeys"] = sorted(item)
    return asked


def unordered(value: Any, field: str = "") -> Any:
    """kubectl puts new items in front; here they come last, after the component's own."""
    if isinstance(value, dict):
        return {key: unordered(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        items = [unordered(item) for item in value]
        return sorted(items, key=json.dumps) if field in MERGE_KEYS else items
    return value
