"""Reading an image back from the lab's registry, as any client of one would.

By https://github.com/opencontainers/distribution-spec/blob/main/spec.md.
"""

import io
import json
import tarfile
import urllib.request
from collections.abc import Iterator
from typing import Any

_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


def read_file(registry: str, repository: str, reference: str, path: str) -> bytes:
    """The content of a file in an image of a registry that speaks plain HTTP.

    Raises:
        FileNotFoundError: no layer of the image has it.
    """
    manifest = _manifest(registry, repository, reference)
    for layer in reversed(manifest["layers"]):
        blob = _get(registry, repository, "blobs", layer["digest"])
        with tarfile.open(fileobj=io.BytesIO(blob)) as files:
            if path in files.getnames():
                content = files.extractfile(path)
                assert content is not None, f"{path} is no regular file"
                return content.read()
    raise FileNotFoundError(f"{registry}/{repository}:{reference} has no file {path}")


def blobs(registry: str, repository: str, reference: str) -> Iterator[bytes]:
    """The configuration and the layers of such an image, as the registry has them."""
    manifest = _manifest(registry, repository, reference)
    for blob in (manifest["config"], *manifest["layers"]):
        yield _get(registry, repository, "blobs", blob["digest"])


def _manifest(registry: str, repository: str, reference: str) -> dict[str, Any]:
    manifest = json.loads(_get(registry, repository, "manifests", reference))
    if "manifests" in manifest:
        images = [m for m in manifest["manifests"] if m["platform"]["os"] != "unknown"]
        return _manifest(registry, repository, images[0]["digest"])
    return manifest


def _get(registry: str, repository: str, kind: str, reference: str) -> bytes:
    request = urllib.request.Request(
        f"http://{registry}/v2/{repository}/{kind}/{reference}",
        headers={"Accept": ", ".join(_MANIFESTS)},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as response:
        return response.read()
