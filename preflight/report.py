"""What a person reads of a preflight."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pulumi_buildkit import Security

from preflight.pods import CONFINED
from preflight.trial import Outcome

# What touches the least of the node comes first.
ORDER = (Security.ROOTLESS, Security.USERNS, Security.PRIVILEGED)
_NAMED = 2
_UNIT = "  "
_WIDTH = 100


@dataclass(frozen=True)
class Kind:
    """Nodes that are alike, and what one of them can do."""

    nodes: Sequence[str]
    """Their names; the first was tried."""
    system: str
    """What makes them a kind."""
    outcomes: Mapping[Security, Outcome]

    @property
    def best(self) -> Security | None:
        """The variant to take there."""
        return best([self])

    @property
    def title(self) -> str:
        """Whom it is about."""
        more = len(self.nodes) - _NAMED
        named = ", ".join(self.nodes[:_NAMED])
        return f"{named} and {more} more" if more > 0 else named


def best(kinds: Sequence[Kind]) -> Security | None:
    """The first variant that runs on all of *kinds*."""
    runs = (s for s in ORDER if all(kind.outcomes[s].runs for kind in kinds))
    return next(runs, None)


def text(kinds: Sequence[Kind]) -> str:
    """The report."""
    blocks = ["\n".join(_table(kinds)), *("\n".join(_details(kind)) for kind in kinds)]
    return "\n\n".join([*blocks, _verdict(kinds)]) + "\n"


def _table(kinds: Sequence[Kind]) -> Iterator[str]:
    rows = [
        ("NODES", *(security.value.upper() for security in ORDER), "BEST"),
        *(
            (
                kind.title,
                *("yes" if kind.outcomes[security].runs else "no" for security in ORDER),
                kind.best.value if kind.best else "none",
            )
            for kind in kinds
        ),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield _UNIT.join(
            f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)
        ).rstrip()


def _details(kind: Kind) -> Iterator[str]:
    yield kind.title
    yield _folded(kind.system)
    if facts := _facts(kind):
        yield _folded("; ".join(facts))
    for security in ORDER:
        outcome = kind.outcomes[security]
        if not outcome.runs:
            yield _folded(f"{security.value}: no: {outcome.reason}")
        elif note := _note(outcome):
            yield _folded(f"{security.value}: {note}")


def _folded(line: str) -> str:
    return textwrap.fill(
        line,
        _WIDTH,
        initial_indent=_UNIT,
        subsequent_indent=2 * _UNIT,
        break_long_words=False,
        break_on_hyphens=False,
    )


_SYSCTLS = (
    "user.max_user_namespaces",
    "kernel.unprivileged_userns_clone",
    "kernel.apparmor_restrict_unprivileged_userns",
)


def _facts(kind: Kind) -> list[str]:
    """What the pods saw, each of them of the same node; not all see everything."""
    seen = {name: value for o in kind.outcomes.values() for name, value in o.facts.items()}
    facts = [f"cgroup {seen['cgroup']}"] if "cgroup" in seen else []
    facts += [f"{name} = {seen[name]}" for name in _SYSCTLS if name in seen]
    if CONFINED in seen:
        facts.append(f"user namespaces under seccomp RuntimeDefault: {seen[CONFINED]}")
    if "fuse" in seen:
        # Only a privileged pod sees the node's devices.
        device = kind.outcomes[Security.PRIVILEGED].facts.get("fuse") == "yes"
        facts.append("/dev/fuse" if device else "no /dev/fuse seen")
    return facts


def _note(outcome: Outcome) -> str:
    snapshotter = outcome.facts.get("snapshotter", "overlayfs")
    if snapshotter == "overlayfs":
        return ""
    return (
        f"yes, but without overlayfs, which needs Linux 5.11 there: the snapshotter is "
        f"{snapshotter}, slower, and native takes the cache several times the room"
    )


def _verdict(kinds: Sequence[Kind]) -> str:
    if (found := best(kinds)) is not None:
        where = "all nodes" if len(kinds) > 1 else "these nodes"
        return f"Best for {where}: buildkit:security: {found.value}"
    some = [kind for kind in kinds if kind.best]
    if not some:
        return "BuildKit runs on none of these nodes; mend one of the reasons above."
    return (
        "No variant runs on all nodes. Keep BuildKit on those where the best one does, by "
        "buildkit:pod.spec.nodeSelector, or mend the reasons above."
    )
