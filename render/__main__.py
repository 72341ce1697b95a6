"""What `make render` does."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pulumi

from render import RenderError, configuration, directory, program
from render.keyring import Keyring
from render.manifests import Needed, manifests, needed


def render(project: Path, stack: str, into: Path, with_secrets: bool) -> str:
    """Write the manifests of a *stack* of the *project* into a directory; what to say of it.

    Raises:
        RenderError: they can't be made, or not there.
        pulumi.RunError: the stack's configuration is wrong.
    """
    directory.refuse_others(into, stack)
    configured = configuration.read(project, stack)
    keyring = Keyring(directory.keys(into)) if with_secrets else None
    recording = program.run(project, stack, configured, into, keyring)
    outputs = recording.outputs_of("Stack").values
    made = manifests(recording)
    private = needed(made)
    directory.write_manifests(into, stack, made, private)
    if keyring:
        directory.hide_secrets(into, stack)
        keyring.save()
        directory.write_secrets(into, stack, made, outputs["clients"])
    said = [
        f"{into} has the manifests of the stack {stack}, for the namespace {outputs['namespace']}.",
        _of_secrets(into, private, keyring),
        _of_applying(into, with_secrets),
        f"Clients dial {outputs['endpoint']}." if "endpoint" in outputs else "",
        _of_clients(into, outputs["valid_until"]) if keyring else "",
    ]
    return "\n\n".join(filter(None, said)) + "\n"


def _of_secrets(into: Path, private: Sequence[Needed], keyring: Keyring | None) -> str:
    if not private:
        return "They need no Secrets."
    below = into / directory.SECRETS
    said = (
        f"{below} has what is secret, and the keys that the next rendering needs: keep it, and "
        f"keep it out of Git.\nNew certificates: {', '.join(keyring.issued) or 'none'}."
        if keyring
        else f"They need what is secret, and nothing of it was written; SECRETS=1 writes {below}."
    )
    return "\n".join([said, "", *_aligned(directory.table(private))])


def _of_applying(into: Path, with_secrets: bool) -> str:
    too = f" --filename {into / directory.SECRETS}" if with_secrets else ""
    return f"Apply them:\n\n  kubectl apply --server-side --filename {into}{too}"


def _of_clients(into: Path, valid_until: dict[str, str]) -> str:
    if not valid_until:
        return ""
    return (
        f"The files of a client are in {directory.clients_files(into, 'NAME')}. The first "
        f"certificate ends on {min(valid_until.values())}:\nrender with SECRETS=1 again, and apply "
        "it, before that."
    )


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(f"{c:{w}}" for c, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def main() -> None:
    """Render one stack; what a user can mend is said in one line each."""
    parser = argparse.ArgumentParser(prog="python -m render")
    parser.add_argument("--stack", default="")
    parser.add_argument("--directory", default="")
    parser.add_argument("--secrets", action="store_true")
    given = parser.parse_args()
    try:
        if not given.directory:
            raise RenderError("DIR is missing; name the directory to write to: DIR=manifests")
        print(render(Path.cwd(), given.stack, Path(given.directory), given.secrets), end="")
    except (RenderError, pulumi.RunError, OSError) as error:
        sys.exit("\n".join(f"render: {line}" for line in str(error).splitlines()))


if __name__ == "__main__":
    main()
