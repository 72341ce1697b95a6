"""The cluster that Pulumi's Kubernetes provider works on, asked directly."""

import io
import os
import re
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import pulumi
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

# Seconds: a preview is not to wait longer for a cluster that is away.
_PATIENCE = 5

_DEFAULT_CLASS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)


# Labels of nodes that may be made as pods need them: by GKE (Autopilot, auto-provisioning), and by
# EKS (Auto Mode, Fargate). Neither has to leave another trace.
_CHANGING = {"cloud.google.com/gke-nodepool", "eks.amazonaws.com/compute-type"}


class NoAnswerError(Exception):
    """The cluster does not say."""


class Cluster:
    """What there is in the cluster of the provider's configuration.

    Whatever is asked of one that can't be reached, or may not be asked, is a `NoAnswerError`.
    """

    def __init__(self) -> None:
        self._unreachable = ""

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        if "_api" in vars(self):
            self._api.rest_client.pool_manager.clear()

    @cached_property
    def version(self) -> tuple[int, int]:
        """Major and minor of the server's."""
        found = self._answer(client.VersionApi, "get_code")
        # Some add a plus to the minor one.
        return int(found.major), int(re.sub(r"\D.*", "", found.minor))

    @cached_property
    def storage_classes(self) -> dict[str, Any]:
        """By name."""
        found = self._list(client.StorageV1Api, "list_storage_class")
        return {each.metadata.name: each for each in found}

    def storage_class(self, name: str | None) -> Any:
        """The class *name*, or that of a claim that names none; `None` if there is no such one."""
        return self.storage_classes.get(name) if name else self._default_class()

    def _default_class(self) -> Any:
        def is_default(found: Any) -> bool:
            mark = found.metadata.annotations or {}
            return any(mark.get(key) == "true" for key in _DEFAULT_CLASS)

        # Of several the newest is.
        classes = filter(is_default, self.storage_classes.values())
        return max(classes, key=lambda each: str(each.metadata.creation_timestamp), default=None)

    def namespace(self, name: str) -> Any:
        """The namespace *name*, or `None`."""
        return self._answer(client.CoreV1Api, "read_namespace", name)

    def secret(self, namespace: str, name: str) -> Any:
        """The Secret *name*, or `None`."""
        return self._answer(client.CoreV1Api, "read_namespaced_secret", name, namespace)

    def service(self, namespace: str, name: str) -> Any:
        """The Service *name*, or `None`."""
        return self._answer(client.CoreV1Api, "read_namespaced_service", name, namespace)

    def has_rolled(self, kind: str, namespace: str, name: str) -> bool:
        """Whether no pod of an older template starts again, of a Deployment or a StatefulSet.

        As `kubectl rollout status` tells it, but for readiness.
        """
        asked = {"deployment": "deployment", "statefulset": "stateful_set"}[kind]
        found = self._answer(client.AppsV1Api, f"read_namespaced_{asked}", name, namespace)
        if found is None:
            return True
        status = found.status
        if (status.observed_generation or 0) < found.metadata.generation:
            return False
        if kind == "statefulset":
            return status.current_revision == status.update_revision
        return (status.replicas or 0) == (status.updated_replicas or 0)

    @cached_property
    def nodes(self) -> list[Any]:
        """All of them."""
        return self._list(client.CoreV1Api, "list_node")

    @cached_property
    def volumes(self) -> list[Any]:
        """The persistent volumes, whoever has them."""
        return self._list(client.CoreV1Api, "list_persistent_volume")

    @cached_property
    def csi_drivers(self) -> set[str]:
        """The names of the drivers that said so."""
        found = self._list(client.StorageV1Api, "list_csi_driver")
        return {each.metadata.name for each in found}

    @cached_property
    def api_groups(self) -> set[str]:
        """The names of all groups of APIs but Kubernetes' core."""
        found = self._answer(client.ApisApi, "get_api_versions")
        return {each.name for each in found.groups} if found else set()

    @cached_property
    def adds_nodes(self) -> bool:
        """Whether it may: by its nodes, Karpenter, its cluster-autoscaler's status, or unsaid."""
        status = ("cluster-autoscaler-status", "kube-system")
        try:
            return (
                any(_CHANGING & set(node.metadata.labels or {}) for node in self.nodes)
                or "karpenter.sh" in self.api_groups
                or bool(self._answer(client.CoreV1Api, "read_namespaced_config_map", *status))
            )
        except NoAnswerError:
            return True

    def serves(self, group: str, version: str) -> bool:
        """Whether it has an API that is not Kubernetes' own."""
        return bool(self._answer(client.CustomObjectsApi, "get_api_resources", group, version))

    def claims(self, namespace: str, labels: dict[str, str]) -> list[Any]:
        """The claims in *namespace* that have all these *labels*."""
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        listed = "list_namespaced_persistent_volume_claim"
        return self._list(client.CoreV1Api, listed, namespace, label_selector=selector)

    @cached_property
    def _api(self) -> client.ApiClient:
        try:
            return client.ApiClient(configuration())
        except Exception as error:
            # A kubeconfig may say anything, and the client reads it without care.
            raise ConfigException(f"no way to it: {error}") from None

    def _list(self, api: Any, question: str, *names: str, **selected: str) -> list[Any]:
        """What there is; nothing where the cluster does not know of such things."""
        found = self._answer(api, question, *names, **selected)
        return found.items if found else []

    def _answer(self, api: Any, question: str, *names: str, **selected: str) -> Any:
        """What the cluster answers; `None` where there is no such thing."""
        if self._unreachable:
            raise NoAnswerError(self._unreachable)
        try:
            asked = getattr(api(self._api), question)
            return asked(*names, **selected, _request_timeout=_PATIENCE)
        except ApiException as error:
            if error.status == 404:
                return None
            raise NoAnswerError(f"{error.status} {error.reason}") from None
        except (ConfigException, HTTPError, OSError) as error:
            self._unreachable = next(iter(str(error).splitlines()), type(error).__name__)
            raise NoAnswerError(self._unreachable) from None


def is_set_by_pulumi(found: Any, *path: str) -> bool:
    """Whether Pulumi set the field at *path*, rather than a default or an admission webhook.

    https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
    """
    return any(
        entry.manager.startswith("pulumi-") and _has(entry.fields_v1, path)
        for entry in found.metadata.managed_fields or ()
    )


def _has(fields: Any, path: tuple[str, ...]) -> bool:
    for name in path:
        fields = (fields or {}).get(f"f:{name}")
    return fields is not None


def configuration() -> client.Configuration:
    """The way to the cluster, as the provider finds it.

    https://www.pulumi.com/registry/packages/kubernetes/installation-configuration/
    """
    given = pulumi.Config("kubernetes")
    for key in ("cluster", "renderYamlToDirectory"):
        if given.get(key):
            raise ConfigException(f"kubernetes:{key} is set")
    found: Any = client.Configuration()
    found.retries = False
    _load(given.get("kubeconfig"), given.get("context"), found)
    return found


def _load(kubeconfig: str | None, context: str | None, into: client.Configuration) -> None:
    files = os.environ.get("KUBECONFIG") or "~/.kube/config"
    if kubeconfig:
        source = kubeconfig if _is_file(kubeconfig) else io.StringIO(kubeconfig)
    elif any(map(_is_file, files.split(os.pathsep))):
        source, context = files, context or _first_context(files)
    else:
        config.load_incluster_config(client_configuration=into)
        return
    config.load_kube_config(source, context, client_configuration=into, persist_config=False)


def _is_file(path: str) -> bool:
    try:
        return Path(path).expanduser().is_file()
    except OSError:
        # Too long for a path: it is the text of a file.
        return False


def _first_context(files: str) -> str | None:
    """The current context: the first file that says one is right, and not, as here, the last."""
    for file in files.split(os.pathsep):
        with suppress(ConfigException):
            return config.list_kube_config_contexts(file)[1]["name"]
    return None
