"""What the API server would say of an object, by the published schemas."""

from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from lab import build, keda

KUBERNETES = "1.36"
# Where the definition of each other kind is: the module of lab/tools, and the file in it.
_OPERATOR = "github.com/prometheus-operator/prometheus-operator"
_CRDS = "example/prometheus-operator-crd/monitoring.coreos.com"
DEFINITIONS = {
    "ScaledObject": ("keda", keda.MODULE, "config/crd/bases/keda.sh_scaledobjects.yaml"),
    "PodMonitor": ("prometheus-operator", _OPERATOR, f"{_CRDS}_podmonitors.yaml"),
    "PrometheusRule": ("prometheus-operator", _OPERATOR, f"{_CRDS}_prometheusrules.yaml"),
}


def validate(document: dict[str, Any]) -> None:
    """Refuse any field that is not in its kind's schema, or that is wrong there."""
    if document["kind"] in DEFINITIONS:
        # Patterns of fields that are not ours are Go's, which a check of the schema would refuse.
        schema = _defined(document["kind"], document["apiVersion"])
        jsonschema.Draft202012Validator(schema).validate(document)
    else:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def definition(kind: str) -> Path:
    """The file of a custom resource's definition."""
    tool, module, file = DEFINITIONS[kind]
    return build.module_dir(tool, module) / file


@cache
def _defined(kind: str, api_version: str) -> dict[str, Any]:
    crd = yaml.safe_load(definition(kind).read_text())["spec"]
    group, _, name = api_version.partition("/")
    assert crd["group"] == group
    (version,) = (v for v in crd["versions"] if v["name"] == name)
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
