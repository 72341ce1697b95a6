"""Writes the pages of the reference, from the code."""

from pathlib import Path

from docs.reference import components, configuration, licences, modes, outputs

_DIRECTORY = Path(__file__).parent

PAGES = {
    _DIRECTORY / "components.md": components.page,
    _DIRECTORY / "configuration.md": configuration.page,
    _DIRECTORY / "licences.md": licences.page,
    _DIRECTORY / "modes.md": modes.page,
    _DIRECTORY / "outputs.md": outputs.page,
}
"""What makes each page."""

if __name__ == "__main__":
    for file, page in PAGES.items():
        file.write_text(page())
