"""What a visitor meets besides code: pages that are listed, forms that parse, one version everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import fastpath

ROOT = Path(__file__).resolve().parent.parent
FORMS = sorted((ROOT / ".github").rglob("*.yml"))


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "decisions").glob("0*.md")), ids=lambda page: page.stem)
def test_a_decision_is_listed_by_its_title(page: Path) -> None:
    number, title = page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ").split(". ", 1)
    listed = (page.parent / "README.md").read_text(encoding="utf-8")
    assert f"| {number} | [{title}]({page.name}) |" in listed
    assert page.name.startswith(f"{int(number):04}-")


def test_decisions_have_numbers_of_their_own() -> None:
    numbers = [page.name[:4] for page in (ROOT / "docs" / "decisions").glob("0*.md")]
    assert len(numbers) == len(set(numbers))


def test_the_site_leads_to_every_page() -> None:
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f"docs/{page.name}" in site, f"mkdocs.yml: no entry for docs/{page.name}"


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_forms_parse(path: Path) -> None:
    assert yaml.safe_load(path.read_text(encoding="utf-8"))


def test_hosted_tests_run_on_every_python_that_is_served() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8"))["jobs"]
    served = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert [f"Python :: {python}" in served for python in jobs["test"]["strategy"]["matrix"]["python"]] == [True] * 3


def test_the_citation_names_this_version() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == fastpath.__version__
