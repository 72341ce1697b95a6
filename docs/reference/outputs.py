"""docs/outputs.md: what a stack says when it is up."""

import ast
from collections.abc import Iterator
from typing import Any

from docs.reference.docstrings import Member, members_of
from settings import MODES, Mode
from tests.recording import REPO, Outputs, record_program

_HEAD = """\
# Outputs

<!-- Made from __main__.py by `make docs`. -->

What a stack says when it is up, each by `pulumi stack output NAME`. One that is secret is shown
with `--show-secrets` only.

| output | in mode | secret | |
|---|---|---|---|"""

Said = dict[Mode, list[Outputs]]


def page() -> str:
    """The page of the outputs."""
    said = {mode: [_outputs_of(keys) for keys in _ways(mode)] for mode in Mode}
    return "\n".join([_HEAD, *(_row(output, said) for output in _described()), ""])


def _described() -> Iterator[Member]:
    program = ast.parse((REPO / "__main__.py").read_text())
    (outputs,) = (s for s in program.body if isinstance(s, ast.ClassDef) and s.name == "Outputs")
    return members_of(outputs)


def _ways(mode: Mode) -> Iterator[dict[str, Any]]:
    """A stack of the *mode* with a gateway and one without, as far as there are."""
    if MODES[mode].gateway is None:
        yield {"mode": mode.value, "job": {"files": {"Dockerfile": "FROM scratch\n"}}}
    else:
        for enabled in (True, False):
            # A claim would have questions to a cluster.
            volume = {"kind": "emptyDir"}
            yield {"mode": mode.value, "gateway": {"enabled": enabled}, "volume": volume}


def _outputs_of(keys: dict[str, Any]) -> Outputs:
    return record_program(**keys).outputs_of("Stack")


def _row(output: Member, said: Said) -> str:
    secret = any(output.name in outputs.secrets for ways in said.values() for outputs in ways)
    cells = (", ".join(_modes(output, said)), "yes" if secret else "no", output.text)
    return f"| `{output.name}` | {' | '.join(cells)} |"


def _modes(output: Member, said: Said) -> Iterator[str]:
    """The modes whose stacks have the *output*."""
    having = {mode: [output.name in of.values for of in ways] for mode, ways in said.items()}
    if all(map(all, having.values())):
        yield "every"
        return
    for mode, ways in having.items():
        match ways:
            case [True] | [True, True]:
                yield f"`{mode.value}`"
            case [True, False]:
                yield f"`{mode.value}` with a gateway"
            case [False, True]:
                yield f"`{mode.value}` without a gateway"
            case _:
                pass
