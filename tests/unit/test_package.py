"""What `pip install` gives: the library, typed, with its public names, and one command."""

import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pulumi_buildkit
import pytest

from lab.paths import REPO
from tests.wheels import LIBRARY, wheel_of

SOURCE = REPO / "components"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel_of(LIBRARY, tmp_path_factory.mktemp("wheel"))


def test_a_wheel_has_the_library_and_the_command_and_nothing_else(wheel: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-tree", "-r", "--name-only", "HEAD", "pulumi_buildkit"],
        cwd=SOURCE,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert {"pulumi_buildkit/py.typed", "pulumi_buildkit/drain_buildkitd.sh"} <= {*tracked}
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    assert sorted(names) == sorted([*tracked, "buildkit_pod.py"])


def test_what_is_installed_is_what_is_imported(wheel: Path, tmp_path: Path) -> None:
    install = ("-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path))
    subprocess.run([sys.executable, *install, str(wheel)], check=True)
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + (
        "import pulumi_buildkit; print(pulumi_buildkit.__file__, *pulumi_buildkit.__all__)"
    )
    said = subprocess.run(
        [sys.executable, "-I", "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    assert said == [str(tmp_path / "pulumi_buildkit/__init__.py"), *pulumi_buildkit.__all__]


def test_the_public_names_are_all_that_the_library_gives() -> None:
    public = {
        name
        for name, value in vars(pulumi_buildkit).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert public == {*pulumi_buildkit.__all__}


def test_the_component_provider_installs_what_it_imports() -> None:
    # Pulumi's language host installs nothing but this for a directory with a __main__.py.
    lines = (SOURCE / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["."]
