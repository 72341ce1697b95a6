"""docs/licences.md: what a stack consists of, and under which licences."""

from supply.images import IMAGES
from supply.packages import pinned

_HEAD = """\
# Third-party licences

<!-- Made from requirements.lock and the packages' metadata by `make docs`. -->

What a stack runs that others have made. Nothing of it is in this repository: pip installs the
packages, Pulumi's CLI the plugins, and nodes pull the images. Licences are SPDX expressions; which
ones a package may have is decided by a test. [Supply chain](supply-chain.md) says how all of it is
pinned.

## Images

Of the program that is run; the distribution beneath it has licences of its own.

| image | runs as | licence | source |
|---|---|---|---|"""

_PLUGINS = """
## Pulumi's plugins

| plugin | licence |
|---|---|"""

_PACKAGES = """
## Python packages

As their metadata says. What only the lab, the tests and the docs use is in
`requirements-dev.lock`.

| package | licence |
|---|---|"""


def page() -> str:
    """The page of the licences."""
    images = (f"| `{i.reference}` | {i.use} | {i.licence} | <{i.source}> |" for i in IMAGES)
    plugins = (package.plugin for package in pinned())
    rows = (f"| `pulumi-resource-{p.name}` | {p.licence} |" for p in plugins if p)
    packages = (f"| `{package.name}` | {package.licence} |" for package in pinned())
    return "\n".join([_HEAD, *images, _PLUGINS, *rows, _PACKAGES, *packages, ""])
