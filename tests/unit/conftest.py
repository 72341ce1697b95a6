from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.api_server import Api, api_server


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Api]:
    """The cluster of this test's KUBECONFIG."""
    with api_server() as stub:
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(stub.kubeconfig()))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield stub
