"""What mkdocs asks while it builds the site: which pages there are, and where.

The site is laid out as the repository is, so that a link in a page leads to the same file on both.
"""

from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PACKAGES = ("bench", "compressors", "models")
# What lies outside of docs/: pages, and files that pages lead to.
BESIDE = ("*.md", "LICENSE", "benchmarks/*.md", "results/*.md", "results/*.csv", "examples/*.py")


def modules() -> Iterator[tuple[str, list[str]]]:
    """Every public package by its dotted name, with its public modules that are no packages."""
    for package in PACKAGES:
        for init in sorted((ROOT / package).rglob("__init__.py")):
            dotted = ".".join(init.parent.relative_to(ROOT).parts)
            names = sorted(path.stem for path in init.parent.glob("*.py") if not path.stem.startswith("_"))
            yield dotted, [f"{dotted}.{name}" for name in names]


def reference(package: str, names: list[str]) -> str:
    """A page of the reference: the package, and under it each of its modules."""
    return "\n".join(
        f"::: {name}\n    options:\n      heading_level: {level}\n"
        for name, level in [(package, 1), *((name, 2) for name in names)]
    )


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The reference's pages, behind the others."""
    pages = [{package: f"api/{package}.md"} for package, _ in modules()]
    config.nav = [*(config.nav or []), {"Reference": pages}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The files of the site under the paths that they have in the repository."""

    def at(path: Path) -> File:
        return File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path))

    of_theme = [file for file in files if file.src_dir != config.docs_dir]
    of_docs = [at(Path(file.abs_src_path or "")) for file in files if file.src_dir == config.docs_dir]
    beside = [at(path) for pattern in BESIDE for path in sorted(ROOT.glob(pattern))]
    api = [
        File.generated(config, f"api/{package}.md", content=reference(package, names))
        for package, names in modules()
    ]
    return Files([*of_theme, *of_docs, *beside, *api])
