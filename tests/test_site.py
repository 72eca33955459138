"""The documentation site: built without a network and without a warning, whole, and at home."""

import ast
import html
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [path for folder in ("", "docs", "benchmarks", "results") for path in (ROOT / folder).glob("*.md")]
SOURCES = [
    path
    for package in ("bench", "compressors", "models")
    for path in sorted((ROOT / package).rglob("*.py"))
    if path.stem == "__init__" or not path.stem.startswith("_")
]
# mkdocs, in a process that can reach nobody.
ALONE = """
import sys

def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise OSError(f"{event}{arguments}")

sys.addaudithook(hook)
from mkdocs.__main__ import cli
cli()
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("the site takes the extra docs")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-c", ALONE, "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def name_of(path: Path) -> str:
    module = path.parent if path.stem == "__init__" else path.with_suffix("")
    return ".".join(module.relative_to(ROOT).parts)


def public(path: Path) -> list[str]:
    """Functions and classes of a module that are not its own affair, by reading it."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    found = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, kinds)]
    return [f"{name_of(path)}.{name}" for name in found if not name.startswith("_")]


@pytest.mark.slow
def test_the_reference_holds_every_public_name(site: Path) -> None:
    shown = {
        name
        for page in (site / "api").rglob("*.html")
        for name in re.findall(r' id="([^"]+)"', page.read_text())
    }
    assert [name for path in SOURCES for name in (name_of(path), *public(path)) if name not in shown] == []


@pytest.mark.slow
def test_a_reader_asks_nobody_else(site: Path) -> None:
    """No font, script, picture or style of another host; what a link leads to is another matter."""
    loaded = r"<(?!a\b)[^>]*\b(?:src|href)=\"?(?:https?:)?//[^>]*>"
    for page in site.rglob("*.html"):
        assert re.findall(loaded, page.read_text()) == [], page
    for sheet in site.rglob("*.css"):
        assert re.findall(r"url\([\"']?(?:https?:)?//|@import", sheet.read_text()) == [], sheet


@pytest.mark.slow
def test_every_link_of_the_site_leads_to_a_file_of_it(site: Path) -> None:
    for page in site.rglob("*.html"):
        if page.name == "404.html":  # shown anywhere, so its links start at the root
            continue
        for link in re.findall(r'\b(?:href|src)="([^"#?:]+)[#?"]', page.read_text()):
            target = page.parent / unquote(html.unescape(link))
            assert (target / "index.html" if target.is_dir() else target).is_file(), f"{page}: {link}"


@pytest.mark.slow
def test_examples_are_shown_as_code(site: Path) -> None:
    """Elsewhere than under "Examples:" Markdown takes the signs before each line for quotations."""
    for page in (site / "api").rglob("*.html"):
        assert "<blockquote>" not in page.read_text(), page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere_in_the_repository_too(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#\s]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target
