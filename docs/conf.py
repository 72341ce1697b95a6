"""How Sphinx makes a site of these pages: `make site`."""

import re
from pathlib import Path

from sphinx.application import Sphinx

project = "BuildKit on Kubernetes"
extensions = ["myst_parser"]
# Headings down to this level can be linked to, by the anchors that GitHub gives them.
myst_heading_anchors = 4
nitpicky = True
smartquotes = False
html_theme = "furo"
html_title = project
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False

SECTION = re.compile(r"^## (?P<caption>.+)\n(?P<text>(?:(?!## ).*\n)*)", re.MULTILINE)
ENTRY = re.compile(r"^- \[(?P<title>.+?)\]\((?P<page>.+?)\.md\)", re.MULTILINE)
UPWARD_LINK = re.compile(r"\[(?P<text>[^]]+)\]\((?P<path>\.\./[^)#]+)(?:#[^)]*)?\)")


def add_navigation(app: Sphinx, page: str, source: list[str]) -> None:
    """Have the start page's lists of links be the site's navigation too."""
    if page == app.config.root_doc:
        source[0] += "".join(
            toctree(section["caption"], ENTRY.findall(section["text"]))
            for section in SECTION.finditer(source[0])
        )


def toctree(caption: str, entries: list[tuple[str, str]]) -> str:
    """What Sphinx makes one part of the navigation from: *entries* of a title and a page each."""
    lines = "\n".join(f"{title} <{page}>" for title, page in entries)
    return f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```\n" if entries else ""


def offer_files(app: Sphinx, page: str, source: list[str]) -> None:
    """Have links to what is not below docs/ lead to a copy of the file; of a directory is none."""
    directory = Path(app.srcdir, page).parent

    def link(found: re.Match[str]) -> str:
        target = (directory / found["path"]).resolve()
        if target.is_relative_to(app.srcdir):
            return found[0]
        text = found["text"]
        return text if target.is_dir() else f"[{text}](path:{found['path']})"

    source[0] = UPWARD_LINK.sub(link, source[0])


def setup(app: Sphinx) -> None:
    """Let Sphinx call what is here."""
    app.connect("source-read", add_navigation)
    app.connect("source-read", offer_files)
