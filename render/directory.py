"""The directory of a stack's manifests: whose it is, and what is in it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from render import RenderError
from render.files import write_private
from render.manifests import Manifest, Needed, dumped

SECRETS = "secrets"
"""What is below it is private: manifests, clients' files, and the keys of the CAs."""
_MADE = "Made by make render STACK="
_IGNORE = ".gitignore"
# `kubectl apply --filename DIR` takes no file without an extension, and kustomize knows this one.
_KUSTOMIZATION = "Kustomization"
_README = "README.md"


def refuse_others(directory: Path, stack: str) -> None:
    """Leave a directory alone that has anything else than the manifests of *stack*.

    Raises:
        RenderError: it has.
    """
    if directory.exists() and not directory.is_dir():
        raise RenderError(f"DIR={directory} is no directory; name another one")
    others = sorted(file.name for file in _files(directory) if _maker(file) != _mark(stack))
    if others:
        raise RenderError(
            f"DIR={directory} has files that are not of the stack {stack} ({_some(others)}); name "
            "an empty directory, or a new one"
        )


def write_manifests(
    directory: Path, stack: str, manifests: Sequence[Manifest], needed: Sequence[Needed]
) -> None:
    """Write all but what is private, and delete what was written before and is no more."""
    public = [manifest for manifest in manifests if not manifest.private]
    texts = {manifest.file: dumped(manifest.object) for manifest in public}
    texts[_KUSTOMIZATION] = dumped(
        {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [manifest.file for manifest in public],
        }
    )
    directory.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        (directory / file).write_text(f"# {_mark(stack)}\n{text}")
    readme = f"<!-- {_mark(stack)} -->\n{_readme(stack, needed)}"
    (directory / _README).write_text(readme)
    for file in _files(directory):
        if file.name not in {*texts, _README, SECRETS}:
            file.unlink()


def hide_secrets(directory: Path, stack: str) -> None:
    """Have a place for what is private, which Git does not see."""
    write_private(directory / SECRETS / _IGNORE, f"# {_mark(stack)}\n*\n")


def write_secrets(
    directory: Path,
    stack: str,
    manifests: Iterable[Manifest],
    clients: Mapping[str, Mapping[str, str]],
) -> None:
    """The same for what is private, in its hidden place, with the *clients'* PEM files."""
    below = directory / SECRETS
    texts = {manifest.file: dumped(manifest.object) for manifest in manifests if manifest.private}
    for file, text in texts.items():
        write_private(below / file, f"# {_mark(stack)}\n{text}")
    for file in below.glob("*.yaml"):
        if file.name not in texts:
            file.unlink()
    for client, pems in clients.items():
        for part, pem in pems.items():
            write_private(clients_files(directory, client) / f"{part}.pem", pem)


def clients_files(directory: Path, client: str) -> Path:
    """Where the ca.pem, cert.pem and key.pem of a *client* are."""
    return directory / SECRETS / "clients" / client


def keys(directory: Path) -> Path:
    """Where the keys of the CAs, and all else of which Secrets are made, are kept."""
    return directory / SECRETS / "keys"


def table(needed: Iterable[Needed]) -> list[tuple[str, ...]]:
    """A row for each object that is *needed*, below the heads."""
    rows = [
        (
            each.namespace,
            each.kind,
            each.name,
            each.type or "-",
            ", ".join(each.keys) or "-",
            "SECRETS=1" if each.rendered else "you",
        )
        for each in needed
    ]
    return [("namespace", "kind", "name", "type", "keys", "made by"), *rows]


def _readme(stack: str, needed: Sequence[Needed]) -> str:
    too = f" --filename {SECRETS}" if any(each.rendered for each in needed) else ""
    heads, *rows = (f"| {' | '.join(row)} |" for row in table(needed))
    secrets = [
        "",
        "## Secrets",
        "",
        "What is secret is not among these files, and has to be there, too. `SECRETS=1` of "
        f"`make render` writes it to `{SECRETS}`, which is for no repository:",
        "",
        heads,
        "|---|---|---|---|---|---|",
        *rows,
    ]
    lines = [
        f"# The stack {stack}",
        "",
        "From this directory, unless a GitOps tool does it:",
        "",
        "```console",
        f"kubectl apply --server-side --filename .{too}",
        "```",
        *(secrets if needed else []),
        "",
    ]
    return "\n".join(lines)


def _files(directory: Path) -> list[Path]:
    return [*directory.iterdir()] if directory.exists() else []


def _mark(stack: str) -> str:
    return f"{_MADE}{stack}; what is changed here is lost."


def _maker(file: Path) -> str:
    """What the first line of a file says; of a directory, that of what hides it from Git."""
    if file.is_dir():
        hiding = file / _IGNORE
        return _maker(hiding) if file.name == SECRETS and hiding.is_file() else ""
    with file.open(errors="replace") as lines:
        return lines.readline().strip("#<!-> \n")


def _some(names: list[str]) -> str:
    return ", ".join([*names[:3], *(["…"] if len(names) > 3 else [])])
