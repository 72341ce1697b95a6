"""docs/modes.md: what goes with which mode."""

from collections.abc import Iterator

from settings import MODES, Traits

_HEAD = """\
# Modes

<!-- Made from settings/modes.py by `make docs`. -->

What goes with each `buildkit:mode`. Anything else is an error at `pulumi preview`, which names the
key and the modes that it goes with.
"""

_NOTES = """
- **gateway**: `buildkit:gateway.enabled` says otherwise where there is a choice.
- **without it**: how clients come when there is no gateway. `kube-pod://` needs the right to
  `pods/exec` and to read pods, and no certificate.
- **pods**: `buildkit:replicas`. The claim of a Deployment belongs to all its pods, so that only one
  pod can have one; those of a StatefulSet have one each.
- **volume**: `buildkit:volume.kind`, the default first.
- **autoscaling**: `buildkit:autoscaling`: as many pods as the builds need, none while nobody
  builds. A Deployment with a claim can't.

Which `buildkit:security` the nodes can run, [`make preflight`](preflight.md) says.
"""


def page() -> str:
    """The page of the modes."""
    head = "| mode | gateway | without it | pods | volume | `buildkit:job` | autoscaling |"
    rows = [f"| `{mode.value}` | {' | '.join(_traits(of))} |" for mode, of in MODES.items()]
    return "\n".join([_HEAD, head, "|---" * 7 + "|", *rows, _NOTES])


def _traits(of: Traits) -> Iterator[str]:
    yield {True: "yes", False: "if enabled", None: "no"}[of.gateway]
    yield "none: it builds" if of.builds else "mTLS" if of.listens else "`kube-pod://`"
    yield (
        ("any number; one with a claim" if of.shared_claim else "any number")
        if of.replicas
        else "one"
    )
    yield ", ".join(f"`{kind.value}`" for kind in of.volumes) or "no"
    yield "to be given" if of.builds else "no"
    yield "yes" if of.autoscaling else "no"
