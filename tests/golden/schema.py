"""What the API server would say of an object, by the published schemas."""

from functools import cache
from typing import Any

import jsonschema
import kubernetes_validate
import yaml
from pulumi_buildkit.autoscaler import API_VERSION

from lab import build, keda

KUBERNETES = "1.36"


def validate(document: dict[str, Any]) -> None:
    """Refuse any field that is not in its kind's schema, or that is wrong there."""
    if document["apiVersion"] == API_VERSION:
        jsonschema.validate(document, _scaled_object())
    else:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


@cache
def _scaled_object() -> dict[str, Any]:
    crds = build.module_dir("keda", keda.MODULE) / "config" / "crd" / "bases"
    crd = yaml.safe_load((crds / "keda.sh_scaledobjects.yaml").read_text())
    (version,) = (v for v in crd["spec"]["versions"] if v["name"] == API_VERSION.split("/")[1])
    return _strict(version["schema"]["openAPIV3Schema"])


def _strict(schema: Any) -> Any:
    """The schema, in which nothing is allowed that is not named."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        strict.setdefault("additionalProperties", False)
    return strict
