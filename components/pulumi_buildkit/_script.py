"""The scripts of this package: the shell's, as containers run them, and Envoy's."""

from importlib import resources


def text(*files: str) -> str:
    """The *files* of this package as one script."""
    package = resources.files("pulumi_buildkit")
    return "".join(package.joinpath(file).read_text() for file in files)


def command(shell: str, files: tuple[str, ...], *arguments: object) -> list[str]:
    """What runs them in *shell* as one script; the last one's name is what it is called."""
    # What follows the text is $0, and then the arguments.
    return [shell, "-c", text(*files), files[-1], *map(str, arguments)]
