"""The cluster's REST API, as much of it as the provider needs, from a kubeconfig."""

import base64
import json
import os
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from lab.providers.kubernetes.rules import BUILT_IN_GROUPS, CLUSTER_SCOPED, plural
from lab.providers.server import ResourceError

Object = dict[str, Any]

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"  # JSON is YAML

_CONNECT_SECONDS, _ANSWER_SECONDS = 5, 60
_CONNECTIONS = 32


class ApiError(ResourceError):
    """The API server refused; `str()` is its message."""

    def __init__(self, status: int, body: bytes) -> None:
        """Take the answer: a `Status` object, or a few words where no API is served."""
        self.status = status
        try:
            message = json.loads(body)["message"]
        except (ValueError, TypeError, KeyError):
            message = body.decode(errors="replace").strip()
        super().__init__(message or f"the API server answered with HTTP {status}")


class Unreachable(ResourceError):
    """Nobody answers at the API server's address."""

    status = 0


@dataclass(frozen=True)
class Kubeconfig:
    """One context of a kubeconfig."""

    cluster: Object
    user: Object
    namespace: str

    @classmethod
    def load(cls, text: str = "", context: str = "", cluster: str = "") -> "Kubeconfig":
        """Read a kubeconfig's content or path; with neither, what kubectl would use."""
        document = _parse(text)

        def named(section: str, name: str) -> Object:
            entries = document.get(section) or []
            return next((entry for entry in entries if entry["name"] == name), {})

        chosen = context or document.get("current-context", "")
        entry = named("contexts", chosen).get("context", {})
        found = named("clusters", cluster or entry.get("cluster", "")).get("cluster")
        if not found:
            raise ResourceError(f"the kubeconfig has no cluster for its context {chosen!r}")
        user = named("users", entry.get("user", "")).get("user") or {}
        return cls(found, user, entry.get("namespace") or "default")


def _parse(text: str) -> Object:
    import yaml  # only here: most of the other imports are cheaper

    if "\n" not in text and not text.lstrip().startswith("{"):
        path = text or os.environ.get("KUBECONFIG") or "~/.kube/config"
        # Several files may be listed; the first that exists is the one that kubectl writes to.
        files = (Path(name).expanduser() for name in path.split(os.pathsep))
        file = next((candidate for candidate in files if candidate.is_file()), None)
        if file is None:
            raise ResourceError(f"no kubeconfig: there is no file at {path}")
        text = file.read_text()
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}


@dataclass(frozen=True)
class Resource:
    """Where the API serves a kind."""

    root: str
    plural: str
    namespaced: bool

    def path(self, namespace: str, name: str = "") -> str:
        """The URL path of an object, or of all of them."""
        within = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{self.root}{within}/{self.plural}" + (f"/{name}" if name else "")


class Cluster:
    """An API server and the credentials for it."""

    def __init__(self, kubeconfig: Kubeconfig) -> None:
        """Keep the kubeconfig; the first request connects."""
        self._kubeconfig = kubeconfig
        self.resource = cache(self._resource)

    def get(self, kind: tuple[str, str], namespace: str, name: str) -> Object:
        """One object."""
        return self.request("GET", self.resource(*kind).path(namespace, name))

    def list(self, kind: tuple[str, str], namespace: str, selector: str = "") -> list[Object]:
        """The objects of a namespace, those that the label selector matches."""
        query = {"labelSelector": selector}
        return self.request("GET", self.resource(*kind).path(namespace), query=query)["items"]

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: dict[str, str] | None = None,
        content_type: str = JSON,
        warn: Callable[[str], None] = lambda warning: None,
    ) -> Object:
        """Ask the API server; each warning that it gives goes to `warn`."""
        from urllib3.exceptions import HTTPError

        url = self._kubeconfig.cluster["server"].rstrip("/") + path
        headers = {"Content-Type": content_type, "Accept": JSON, **self._authorization}
        try:
            answer = self._pool.request(
                method,
                f"{url}?{urlencode(query)}" if query else url,
                body=None if body is None else json.dumps(body),
                headers=headers,
            )
        except HTTPError as error:
            reason = getattr(error, "reason", error)  # without the retries' own words
            raise Unreachable(f"configured Kubernetes cluster is unreachable: {reason}") from None
        for warning in answer.headers.getlist("Warning"):
            warn(warning.partition(" - ")[2].strip('"').replace('\\"', '"'))
        if answer.status >= 400:
            raise ApiError(answer.status, answer.data)
        return answer.json()

    def _resource(self, api_version: str, kind: str) -> Resource:
        """Built-in kinds follow a rule; others are looked up where their group lists them."""
        group, _, version = api_version.rpartition("/")
        root = f"/apis/{group}/{version}" if group else f"/api/{version}"
        if group in BUILT_IN_GROUPS:
            return Resource(root, plural(kind), kind not in CLUSTER_SCOPED)
        for entry in self.request("GET", root)["resources"]:
            if entry["kind"] == kind and "/" not in entry["name"]:
                return Resource(root, entry["name"], entry["namespaced"])
        raise ApiError(404, f'no matches for kind "{kind}" in version "{api_version}"'.encode())

    @cached_property
    def _pool(self) -> Any:
        from urllib3 import PoolManager, Retry, Timeout

        return PoolManager(
            maxsize=_CONNECTIONS,
            ssl_context=self._tls,
            timeout=Timeout(connect=_CONNECT_SECONDS, read=_ANSWER_SECONDS),
            # A kept connection may have been closed meanwhile; nothing was done then.
            retries=Retry(connect=1, other=0, read=0, redirect=0, status=0),
        )

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        cluster, user = self._kubeconfig.cluster, self._kubeconfig.user
        authority = _data(cluster, "certificate-authority")
        context = ssl.create_default_context(cadata=authority.decode() if authority else None)
        if cluster.get("insecure-skip-tls-verify"):
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        certificate, key = (_data(user, name) for name in ("client-certificate", "client-key"))
        if certificate and key:
            with tempfile.NamedTemporaryFile() as file:  # OpenSSL reads them from a file only
                file.write(certificate + b"\n" + key)
                file.flush()
                context.load_cert_chain(file.name)
        return context

    @property
    def _authorization(self) -> dict[str, str]:
        user = self._kubeconfig.user
        if "exec" in user or "auth-provider" in user:
            raise ResourceError(
                "the lab's own kubernetes provider knows client certificates and tokens, not the"
                " credential plugin in this kubeconfig: install the official Pulumi plugin for it"
            )
        token = user.get("token") or (
            Path(user["tokenFile"]).read_text().strip() if "tokenFile" in user else ""
        )
        return {"Authorization": f"Bearer {token}"} if token else {}


def _data(section: Object, name: str) -> bytes:
    if encoded := section.get(f"{name}-data"):
        return base64.b64decode(encoded)
    return Path(section[name]).read_bytes() if name in section else b""
