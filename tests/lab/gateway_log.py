"""What the gateway has written: a line of JSON for each build, session and refusal."""

import json
from typing import Any

from lab import LabError
from lab.node import until
from tests.lab.conftest import Installation

_FLUSHED = 20.0  # seconds


class GatewayLog:
    """What all pods of a gateway write from now on."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._before = {*self._lines()}

    def new(self, **values: str) -> list[dict[str, Any]]:
        """The lines that came since, and have these *values* somewhere in them."""
        lines = [json.loads(line) for line in self._lines() if line not in self._before]
        return [
            line
            for line in lines
            if "begins" not in line
            and all(value in (line.get(key) or "") for key, value in values.items())
        ]

    def wait(self, count: int, **values: str) -> list[dict[str, Any]]:
        """As many of these as there have to be, at least."""
        until(
            lambda: len(self.new(**values)) >= count,
            _FLUSHED,
            lambda: LabError(f"the log does not say {values}: {self.new()}"),
        )
        return self.new(**values)

    def _lines(self) -> list[str]:
        selected = ("--selector=app=buildkit-gateway", "--tail=-1")
        text = self._installation.kubectl("logs", *selected)
        return [line for line in text.splitlines() if line.startswith("{")]
