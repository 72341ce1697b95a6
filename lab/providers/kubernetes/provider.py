"""The kubernetes provider: any object of the cluster as a Pulumi resource.

Created by POST, so that an existing object is taken only when asked for; updated by server-side
apply; see
https://www.pulumi.com/registry/packages/kubernetes/how-to-guides/managing-resources-with-server-side-apply/.
"""

import hashlib
import os
import secrets
from contextlib import suppress
from functools import cached_property
from typing import Any

from lab.providers.kubernetes.api import (
    APPLY,
    JSON,
    JSON_PATCH,
    ApiError,
    Cluster,
    Kubeconfig,
    Object,
    Unreachable,
)
from lab.providers.kubernetes.objects import (
    AUTONAMED,
    annotation,
    compare,
    group_of,
    is_set,
    keep_ignored,
    managers,
    mark_secrets,
    normalize,
    prune,
    take_over,
)
from lab.providers.kubernetes.readiness import await_gone, await_ready, check_ready
from lab.providers.kubernetes.rules import replacing
from lab.providers.server import CheckFailed, Diff, NotReady, Operation, Provider, ResourceError
from lab.providers.values import UNKNOWN, Properties, has_unknown, plain

_CONFLICT = (
    "Server-Side Apply field conflict detected. See https://www.pulumi.com/registry/packages/"
    "kubernetes/how-to-guides/managing-resources-with-server-side-apply/"
    "#handle-field-conflicts-on-existing-resources for troubleshooting help.\n"
    'The resource managed by field manager "{manager}" had an apply conflict: {error}'
)
# Nobody there, or may not look: then a preview shows the inputs. A new object's namespace may be
# yet to come as well, and what has its name may be what it replaces. Any other refusal is an error
# in a preview too.
_NO_PREVIEW = (0, 403)
_NO_CREATE_PREVIEW = (*_NO_PREVIEW, 404, 409)
# A namespace or a kind that the same program makes may not be there yet.
_CREATE_RETRIES = 5
# Which option, unless it is given, is read from the environment:
# https://www.pulumi.com/registry/packages/kubernetes/api-docs/provider/
_FROM_ENVIRONMENT = {
    "enableConfigMapMutable": "PULUMI_K8S_ENABLE_CONFIGMAP_MUTABLE",
    "enablePatchForce": "PULUMI_K8S_ENABLE_PATCH_FORCE",
    "enableSecretMutable": "PULUMI_K8S_ENABLE_SECRET_MUTABLE",
    "enableServerSideApply": "PULUMI_K8S_ENABLE_SERVER_SIDE_APPLY",
    "upsertExistingObjects": "PULUMI_K8S_UPSERT_EXISTING_OBJECTS",
}
_MUTABLE = {"ConfigMap": "enableConfigMapMutable", "Secret": "enableSecretMutable"}
_MANAGER, _INPUTS, _API_VERSION = "__fieldManager", "__inputs", "__initialApiVersion"
_POLICIES = {"orphan": "Orphan", "background": "Background"}


class Kubernetes(Provider):
    """Kubernetes objects."""

    package = "kubernetes"
    _config: Properties

    def check_config(self, config: Properties) -> list[tuple[str, str]]:
        """Refuse what only the official provider can do."""
        if _flag(config, "enableServerSideApply", default=True):
            return []
        reason = "the lab's own kubernetes provider has server-side apply only: leave it enabled"
        return [("enableServerSideApply", reason)]

    def diff_config(self, old: Properties, new: Properties) -> Diff:
        """Another cluster means other resources."""
        diff = super().diff_config(old, new)
        place = ["kubeconfig", "context", "cluster"]
        moved = [key for key in place if key in diff.changes]
        if moved and (has_unknown(new) or _cluster_of(old) != _cluster_of(new)):
            diff.replaces = moved
        return diff

    def configure(self, config: Properties) -> None:
        """Keep the options; the kubeconfig is read when it is needed."""
        self._config = config

    @cached_property
    def _kubeconfig(self) -> Kubeconfig:
        return _load(self._config)

    @cached_property
    def _cluster(self) -> Cluster:
        return Cluster(self._kubeconfig)

    def check(self, op: Operation, olds: Properties, news: Properties) -> Properties:
        """Fill in name and namespace."""
        api_version, kind = _kind_of(op.type)
        inputs = {"apiVersion": api_version, "kind": kind, **plain(news)}
        if not isinstance(inputs.get("metadata", {}), dict):
            return news  # all of the metadata is unknown
        inputs = normalize(inputs)
        metadata = inputs["metadata"]
        if metadata.get("generateName"):
            reason = "generateName is not supported with server-side apply: leave it out, as name"
            raise CheckFailed([("metadata.generateName", reason)])
        if not metadata.get("name"):
            _autoname(op, normalize(plain(olds)), metadata)
        if not metadata.get("namespace") and self._is_namespaced(api_version, kind):
            metadata["namespace"] = self._config.get("namespace") or self._kubeconfig.namespace
        return mark_secrets(inputs, news)

    def _is_namespaced(self, api_version: str, kind: str) -> bool:
        try:
            return self._cluster.resource(api_version, kind).namespaced
        except ResourceError:
            return True  # most likely so, for a kind that the same program defines

    def diff(
        self,
        op: Operation,
        olds: Properties,
        state: Properties,
        news: Properties,
        ignore: list[str],
    ) -> Diff:
        """Compare the live object, as the state has it, with the new inputs."""
        inputs, live = _parse(state)
        new = normalize(plain(news))
        kind = new["kind"]
        option = _MUTABLE.get(kind, "")
        mutable = _flag(self._config, option) and not new.get("immutable")
        diff = compare(new, live, inputs, replacing(group_of(new), kind, mutable), ignore)
        replaced_unready = kind == "Job" and is_set(new, "pulumi.com/replaceUnready")
        if replaced_unready and self._is_unready(live):
            diff.replaces.append('metadata.annotations["pulumi.com/replaceUnready"]')
        same_place = all(
            new["metadata"].get(key) == live["metadata"].get(key) for key in ("name", "namespace")
        )
        diff.delete_before_replace = (
            bool(diff.replaces) and same_place and not is_set(new, AUTONAMED)
        )
        return diff

    def _is_unready(self, live: Object) -> bool:
        try:
            check_ready(self._cluster, self._live(live))
        except NotReady:
            return True
        except ResourceError:
            pass
        return False

    def _live(self, obj: Object) -> Object:
        """The object as it is now."""
        metadata = obj["metadata"]
        return self._cluster.get(_gvk(obj), metadata.get("namespace", ""), metadata["name"])

    def create(self, op: Operation, inputs: Properties) -> tuple[str, Properties]:
        """Create the object and wait until it is ready; in a preview let the server try."""
        obj = plain(inputs)
        if op.preview and has_unknown(obj):
            return "", inputs
        manager = annotation(obj, "pulumi.com/patchFieldManager") or _new_manager()
        try:
            live = self._post(op, obj, manager)
        except (ApiError, Unreachable) as error:
            if op.preview and error.status in _NO_CREATE_PREVIEW:
                return "", inputs
            raise ResourceError(
                f'resource "{op.urn}" was not successfully created by the Kubernetes API server: '
                f"{error}"
            ) from None
        if op.preview:
            live.pop("status", None)
            return "", _checkpoint(obj, live, inputs, manager)
        try:
            live = await_ready(op, self._cluster, live)
        except NotReady as error:
            raise NotReady(
                f'resource "{op.urn}" was successfully created, but the Kubernetes API server'
                f" reported that it failed to fully initialize or become live: {error}",
                error.reasons,
            ).found(_id(live), self._snapshot(obj, live, inputs, manager)) from None
        return _id(live), _checkpoint(obj, live, inputs, manager)

    def _post(self, op: Operation, obj: Object, manager: str) -> Object:
        metadata = obj["metadata"]
        for attempt in range(_CREATE_RETRIES + 1):
            try:
                path = self._cluster.resource(*_gvk(obj)).path(metadata.get("namespace", ""))
                if self._is_upsert(obj):
                    path = f"{path}/{metadata['name']}"
                    return self._write(op, "PATCH", path, obj, manager, APPLY, force="true")
                return self._write(op, "POST", path, obj, manager)
            except ApiError as error:
                if error.status != 404 or op.preview or attempt == _CREATE_RETRIES:
                    raise
                op.status(f"Retry #{attempt}; creation failed: {error}")
                op.cancelled.wait(2**attempt / 4)
        raise AssertionError("the last attempt returns or raises")

    def _is_upsert(self, obj: Object) -> bool:
        """Whether to change the object if there already is one."""
        return _flag(self._config, "upsertExistingObjects") and not is_set(obj, AUTONAMED)

    def _write(
        self,
        op: Operation,
        method: str,
        path: str,
        body: Any,
        manager: str,
        content_type: str = JSON,
        **query: str,
    ) -> Object:
        query = {"fieldManager": manager, "fieldValidation": "Warn", **query}
        if op.preview:
            query["dryRun"] = "All"
        return self._cluster.request(method, path, body, query, content_type, op.say)

    def read(
        self, op: Operation, id_: str, state: Properties, inputs: Properties
    ) -> tuple[Properties, Properties] | None:
        """The live object; for an import, all of it but what only the server writes."""
        namespace, _, name = id_.rpartition("/")
        try:
            live = self._cluster.get(_kind_of(op.type), namespace, name)
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        old = normalize(plain(inputs)) if inputs else {}
        shape = old or _without_status(live)
        seen = prune(live, shape, plain(state))
        manager = plain(state).get(_MANAGER) or _new_manager()
        found = _checkpoint(seen, live, inputs, manager), mark_secrets(seen, inputs)
        if old:
            try:
                check_ready(self._cluster, live)
            except NotReady as error:
                raise error.found(id_, *found) from None
        return found

    def update(
        self, op: Operation, state: Properties, news: Properties, ignore: list[str]
    ) -> Properties:
        """Apply the new inputs and wait until the object is ready again."""
        obj = normalize(plain(news))
        if op.preview and has_unknown(obj):
            return news
        _, old = _parse(state)
        manager = annotation(obj, "pulumi.com/patchFieldManager") or plain(state)[_MANAGER]
        try:
            live = self._apply(op, obj, old["metadata"]["name"], manager, ignore)
            if not op.preview:
                live = await_ready(op, self._cluster, live)
        except ResourceError as error:
            if op.preview and error.status in _NO_PREVIEW:
                return news
            live = self._after_failure(op, old, error)
            raise NotReady(
                f'the Kubernetes API server reported that "{_id(live)}" failed to fully initialize'
                f" or become live: {error}",
                getattr(error, "reasons", []),
            ).found(_id(live), _checkpoint(obj, live, news, manager)) from None
        return _checkpoint(obj, live, news, manager)

    def _after_failure(self, op: Operation, old: Object, error: ResourceError) -> Object:
        """The object that an update failed to change; without it, nothing goes into the state."""
        try:
            return self._live(old)
        except ResourceError as unseen:
            raise ResourceError(
                f'update of resource "{op.urn}" failed: {error}\n'
                f"unable to get cluster state: {unseen}"
            ) from None

    def _apply(
        self, op: Operation, obj: Object, name: str, manager: str, ignore: list[str]
    ) -> Object:
        path = self._cluster.resource(*_gvk(obj)).path(obj["metadata"].get("namespace", ""), name)
        live = self._cluster.request("GET", path)
        managed = live["metadata"].get("managedFields", [])
        taken = take_over(managed, manager)
        if taken and not op.preview:
            patch = [
                {"op": "replace", "path": "/metadata/managedFields", "value": taken},
                {
                    "op": "replace",
                    "path": "/metadata/resourceVersion",
                    "value": live["metadata"]["resourceVersion"],
                },
            ]
            live = self._cluster.request("PATCH", path, patch, content_type=JSON_PATCH)
        obj = keep_ignored(obj, live, managers(taken or managed, manager), ignore)
        forced = is_set(obj, "pulumi.com/patchForce") or _flag(self._config, "enablePatchForce")
        # A preview can't take over, so it would conflict with what the update will have taken.
        force = str(forced or (op.preview and bool(taken))).lower()
        try:
            return self._write(op, "PATCH", path, obj, manager, APPLY, force=force)
        except ApiError as error:
            if error.status == 409:
                raise ResourceError(_CONFLICT.format(manager=manager, error=error)) from None
            raise

    def _snapshot(self, obj: Object, live: Object, inputs: Properties, manager: str) -> Properties:
        """The state after a failure: the object as it is now, if it can be had."""
        with suppress(ResourceError):
            live = self._live(live)
        return _checkpoint(obj, live, inputs, manager)

    def delete(self, op: Operation, id_: str, state: Properties) -> None:
        """Delete the object with all that it owns, and wait until it is gone."""
        inputs, live = _parse(state)
        namespace, _, name = id_.rpartition("/")
        policy = annotation(inputs, "pulumi.com/deletionPropagationPolicy").lower()
        body = {"propagationPolicy": _POLICIES.get(policy, "Foreground")}
        try:
            path = self._cluster.resource(*_kind_of(op.type)).path(namespace, name)
            self._cluster.request("DELETE", path, body)
        except ApiError as error:
            if error.status == 404:
                return
            raise
        await_gone(op, self._cluster, live, path)


def _flag(config: Properties, name: str, default: bool = False) -> bool:
    """An option of the provider, or of the environment. The engine sends stack config as text."""
    value = config.get(name, os.environ.get(_FROM_ENVIRONMENT.get(name, ""), default))
    return value in (True, "true")


def _load(config: Properties) -> Kubeconfig:
    return Kubeconfig.load(*(config.get(key, "") for key in ("kubeconfig", "context", "cluster")))


def _cluster_of(config: Properties) -> Object | None:
    try:
        return _load(config).cluster
    except ResourceError:
        return None


def _kind_of(token: str) -> tuple[str, str]:
    """`kubernetes:core/v1:Secret` is `v1`, `Secret`."""
    _, api_version, kind = token.split(":")
    return api_version.removeprefix("core/"), kind


def _gvk(obj: Object) -> tuple[str, str]:
    return obj["apiVersion"], obj["kind"]


def _id(live: Object) -> str:
    namespace, name = live["metadata"].get("namespace"), live["metadata"]["name"]
    return f"{namespace}/{name}" if namespace else name


def _autoname(op: Operation, old: Object, metadata: Object) -> None:
    """Give a new name, or the one that was given before, and mark it as not the user's.

    https://www.pulumi.com/docs/iac/concepts/resources/names/#autonaming
    """
    if old.get("apiVersion") and is_set(old, AUTONAMED):
        metadata["name"] = old["metadata"]["name"]
    else:
        seed = op.random_seed or secrets.token_bytes(16)
        metadata["name"] = op.proposed_name or f"{op.name}-{hashlib.sha256(seed).hexdigest()[:8]}"
    annotations = metadata.get("annotations") or {}
    if annotations is not UNKNOWN:
        metadata["annotations"] = {**annotations, AUTONAMED: "true"}


def _new_manager() -> str:
    return f"pulumi-kubernetes-{secrets.token_hex(4)}"


def _without_status(live: Object) -> Object:
    obj = normalize({key: value for key, value in live.items() if key != "status"})
    annotations = obj["metadata"].get("annotations", {})
    annotations.pop("deployment.kubernetes.io/revision", None)
    annotations.pop("kubectl.kubernetes.io/last-applied-configuration", None)
    return obj


def _checkpoint(obj: Object, live: Object, inputs: Properties, manager: str) -> Properties:
    """The state: the live object, and beside it what the next operation must know."""
    metadata = {key: value for key, value in live["metadata"].items() if key != "managedFields"}
    return {
        **mark_secrets({**live, "metadata": metadata}, inputs),
        _INPUTS: mark_secrets(obj, inputs),
        _API_VERSION: obj["apiVersion"],
        _MANAGER: manager,
    }


def _parse(state: Properties) -> tuple[Object, Object]:
    """The inputs and the live object of a state."""
    live = plain(state)
    inputs = live.pop(_INPUTS, {})
    for key in (_API_VERSION, _MANAGER):
        live.pop(key, None)
    return inputs, live
