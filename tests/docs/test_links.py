"""What the documentation points to is there: files, anchors, sections of the methods, modules."""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SKIPPED = {".venv", ".venv-docs", "build", "dist", "runs", ".cache", ".git"}
PAGES = sorted(
    path for path in ROOT.rglob("*.md") if not SKIPPED & set(path.relative_to(ROOT).parts)
)
SOURCES = sorted(
    path for folder in ("checker", "tests", "benchmarks") for path in ROOT.glob(f"{folder}/**/*.py")
)
METHODS = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")

_FENCE = re.compile(r"^( *)(```+).*?^\1\2", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_OURS = re.compile(
    r"(checker|docs|policies|schemas|reports|tests|benchmarks|examples)/[\w./-]*|[A-Z]+\.md"
)


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the repository's host and the site make them."""
    return {
        re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())
        for heading in re.findall(r"^#+ +(.+?) *$", prose(page), flags=re.MULTILINE)
    }


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_there_are_pages_to_look_at() -> None:
    assert {"README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/methods.md"} <= set(
        map(name, PAGES)
    )


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in _LINK.findall(prose(page)):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", [p for p in PAGES if name(p) != "CHANGELOG.md"], ids=name)
def test_paths_that_are_named_exist(page: Path) -> None:
    """`checker/stats/` in a sentence is a path from the top of the repository."""
    for code in _CODE.findall(prose(page)):
        if _OURS.fullmatch(code):
            assert (ROOT / code).exists() or (page.parent / code).exists(), code


# --- citations ----------------------------------------------------------------------------------


def sections() -> dict[str, str]:
    """The numbered sections of the methods."""
    parts = re.split(r"^## (\d)\. ", METHODS, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def texts() -> Iterator[tuple[str, str]]:
    """What every source says, with line ends of docstrings and comments taken out."""
    for path in SOURCES:
        if path != Path(__file__):
            yield name(path), re.sub(r"\s*\n\s*(# )?", " ", path.read_text(encoding="utf-8"))


def test_every_citation_of_the_methods_names_a_section() -> None:
    found = sections()
    cited = 0
    for where, text in texts():
        for citation in re.finditer(r"\bMETHODS\b(?: §(\d)((?: and §\d)*))?", text):
            number, further = citation.groups(default="")
            assert number, f"{where}: '{text[citation.start() : citation.end() + 20]}'"
            for one in (number, *re.findall(r"\d", further)):
                assert one in found, f"{where}: METHODS §{one}"
            cited += 1
    assert cited >= 30


def test_every_part_of_a_section_that_is_cited_by_name_is_a_heading_there() -> None:
    found = sections()
    cited = set()
    for where, text in texts():
        for number, _, part in re.findall(r"METHODS §(\d), ([*\"])(.+?)\2", text):
            headings = re.findall(r"^### (.+)$", found[number], flags=re.MULTILINE)
            assert part in headings, f"{where}: METHODS §{number}, *{part}*"
            cited.add(part)
    assert {"Power", "Second tries", "Admissibility"} <= cited


@cache
def docstrings() -> list[tuple[str, str]]:
    """Every docstring of the package, with the file it stands in."""
    return [
        (name(path), ast.get_docstring(node) or "")
        for path in sorted(ROOT.glob("checker/**/*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
    ]


def test_files_that_docstrings_name_exist() -> None:
    for where, text in docstrings():
        for named in re.findall(r"((?:docs|benchmarks)/[\w./-]+\w)", text):
            assert (ROOT / named).exists(), f"{where}: {named}"


def test_modules_that_docstrings_name_exist() -> None:
    named = {
        (where, dotted)
        for where, text in docstrings()
        for dotted in re.findall(r"`(checker(?:\.\w+)+)", text)
    }
    assert len(named) > 20
    assert not [one for one in sorted(named) if not _is_there(one[1])]


def _is_there(dotted: str) -> bool:
    """Whether a module exists, or one that defines or imports the name; nothing is imported."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:length])
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if file.is_file():
            text, rest = file.read_text(encoding="utf-8"), parts[length:]
            return not rest or bool(
                re.search(
                    rf"^(class |def |    )?{rest[0]}\b(?! +[a-z])|import .*\b{rest[0]}\b",
                    text,
                    re.M,
                )
            )
    return False


# --- the site -----------------------------------------------------------------------------------


def navigation() -> list[str]:
    def pages(part: object) -> Iterator[str]:
        if isinstance(part, str):
            yield part
        elif isinstance(part, list):
            for one in part:
                yield from pages(one)
        elif isinstance(part, dict):
            for one in part.values():
                yield from pages(one)

    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    return list(pages(settings["nav"]))


def test_the_site_s_navigation_holds_every_page_once() -> None:
    listed = navigation()
    assert len(set(listed)) == len(listed)
    own = {
        page.relative_to(ROOT / "docs").as_posix()
        for page in PAGES
        if ROOT / "docs" in page.parents
    }
    assert own <= set(listed)
    hook = (ROOT / "docs" / "hooks" / "links.py").read_text(encoding="utf-8")
    guests = dict(re.findall(r'"([\w./-]+)": "([\w-]+\.md)"', hook))
    assert set(listed) - own == set(guests.values())
    assert all((ROOT / place).is_file() for place in guests)


def test_the_api_pages_name_modules_that_exist() -> None:
    named = [
        module
        for page in (ROOT / "docs" / "api").glob("*.md")
        for module in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert len(named) >= 10
    for module in named:
        assert find_spec(module) is not None, module


def test_every_decision_is_in_the_table() -> None:
    folder = ROOT / "docs" / "decisions"
    table = (folder / "README.md").read_text(encoding="utf-8")
    pages = sorted(folder.glob("[0-9]*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        title = page.read_text(encoding="utf-8").splitlines()[0].partition(". ")[2]
        assert f"]({page.name}) | {title} |" in table, page.name


# --- what the architecture says of the tree -----------------------------------------------------


def test_the_architecture_names_every_folder_and_module_of_the_package() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for path in (ROOT / "checker").iterdir():
        if path.is_dir() and (path / "__init__.py").exists():
            assert f"`checker/{path.name}/`" in text, path.name
        elif path.suffix == ".py" and path.stem != "__init__":
            assert f"`checker/{path.name}`" in text, path.name


def test_relative_links_do_not_leave_the_repository() -> None:
    for page in PAGES:
        for link in _LINK.findall(prose(page)):
            if "://" not in link and not link.startswith("#"):
                place = posixpath.normpath(posixpath.join(posixpath.dirname(name(page)), link))
                assert not place.startswith(".."), f"{name(page)}: {link}"
