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
        found = self._answer(client.StorageV1Api, "list_storage_class")
        return {each.metadata.name: each for each in found.items}

    def has_default_storage_class(self) -> bool:
        """Whether a claim that names no class gets one."""
        marks = (each.metadata.annotations or {} for each in self.storage_classes.values())
        return any(mark.get(key) == "true" for mark in marks for key in _DEFAULT_CLASS)

    def namespace(self, name: str) -> Any:
        """The namespace *name*, or `None`."""
        return self._answer(client.CoreV1Api, "read_namespace", name)

    def secret(self, namespace: str, name: str) -> Any:
        """The Secret *name*, or `None`."""
        return self._answer(client.CoreV1Api, "read_namespaced_secret", name, namespace)

    def serves(self, group: str, version: str) -> bool:
        """Whether it has an API that is not Kubernetes' own."""
        return bool(self._answer(client.CustomObjectsApi, "get_api_resources", group, version))

    def claims(self, namespace: str, labels: dict[str, str]) -> list[Any]:
        """The claims in *namespace* that have all these *labels*."""
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        listed = "list_namespaced_persistent_volume_claim"
        found = self._answer(client.CoreV1Api, listed, namespace, label_selector=selector)
        return found.items

    @cached_property
    def _api(self) -> client.ApiClient:
        try:
            return client.ApiClient(_configuration())
        except Exception as error:
            # A kubeconfig may say anything, and the client reads it without care.
            raise ConfigException(f"no way to it: {error}") from None

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


def _configuration() -> client.Configuration:
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
