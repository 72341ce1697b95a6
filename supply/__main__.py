"""What `make sbom` does: the bill of materials of a stack, as CycloneDX.

Its schema: https://cyclonedx.org/docs/1.6/json.
"""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

from supply.images import IMAGES, Image
from supply.packages import LIBRARY, REPO, Package, Plugin, asked_for, pinned

FILE = REPO / "build" / "sbom.cdx.json"

Component = dict[str, Any]


def bill() -> dict[str, Any]:
    """The bill of materials of a stack whose configuration names no other images."""
    program = _component("application", "pkg:generic/buildkit", LIBRARY["version"])
    packages = {package.name: _package(package) for package in pinned()}
    plugins = [_plugin(package.plugin) for package in pinned() if package.plugin]
    others = [*plugins, *map(_image, IMAGES)]
    needed = [packages[one.name] for one in asked_for()]
    needs = {
        package.name: [packages[name] for name in sorted(package.needs)] for package in pinned()
    }
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid4().urn,
        "metadata": {
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "component": program,
        },
        "components": [*packages.values(), *others],
        "dependencies": [
            _dependencies(program, [*needed, *others]),
            *(_dependencies(packages[name], of) for name, of in needs.items()),
            *(_dependencies(other, []) for other in others),
        ],
    }


def _package(package: Package) -> Component:
    of = _component("library", f"pkg:pypi/{package.name}", package.version, package.licence)
    files = {
        "type": "distribution",
        "url": of["purl"],
        "comment": "its files, for one platform or another",
        "hashes": [{"alg": "SHA-256", "content": each} for each in package.hashes],
    }
    return {**of, "externalReferences": [files]}


def _plugin(plugin: Plugin) -> Component:
    purl = f"pkg:github/pulumi/pulumi-{plugin.name}"
    return _component("application", purl, f"v{plugin.version}", plugin.licence)


def _image(image: Image) -> Component:
    name, _, tag = image.reference.rpartition(":")
    path = name.removeprefix("docker.io/").removeprefix("library/")
    return _component("container", f"pkg:docker/{path}", tag, image.licence)


def _component(kind: str, purl: str, version: str, licence: str = "") -> Component:
    """A component by its package URL: https://github.com/package-url/purl-spec."""
    whole = f"{purl}@{version}"
    return {
        "type": kind,
        "bom-ref": whole,
        "name": purl.rpartition("/")[2],
        "version": version,
        "purl": whole,
        **({"licenses": [{"expression": licence}]} if licence else {}),
    }


def _dependencies(of: Component, needed: list[Component]) -> dict[str, Any]:
    return {"ref": of["bom-ref"], "dependsOn": sorted({one["bom-ref"] for one in needed})}


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(bill(), indent=2))
    print(FILE.relative_to(REPO))
