"""The documents agree with the code: names, rooms, numbering, lines."""

from __future__ import annotations

import importlib
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_CHARACTERS = 119
#: Documents that are not in the repository; nothing may send a reader to them.
ELSEWHERE = re.compile(
    r"\b(design|style|layout|users|facts)\.md\b|\b[Ii]ssues? #?[0-9]|\b[Tt]raps? [0-9]|\bshared/"
)
#: Paths that a reader makes, not we: example, page. One that no page names any more has to go.
EXAMPLES = {
    "targets/board.toml",
    "targets/NAME.toml",
    "targets/T.toml",
    "targets/ort-1.23.toml",
    "targets/mine.toml",
    "targets/boards.toml",
}


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\n")  # fmt: skip
    return [ROOT / name for name in listed if name and (ROOT / name).exists()]


#: Names that a decision considered and rejected.
REJECTED = {"harness._backends", "harness._suites"}
PAGES = tracked("*.md")
pages = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


@pages
def test_lines_fit_a_screen(page: Path) -> None:
    lines = enumerate(page.read_text().splitlines(), 1)
    long = [number for number, line in lines if len(line) > MOST_CHARACTERS]
    assert not long


def test_nothing_sends_a_reader_elsewhere() -> None:
    here = Path(__file__)
    hits = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in tracked("*.py", "*.md", "*.toml", "*.j2", "*.js", "Makefile", ".ci/run")
        if path not in (here, ROOT / "CHANGELOG.md")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if ELSEWHERE.search(line)
    ]
    assert not hits


def names(page: Path) -> set[str]:
    """Dotted names of our packages; ``[suites.mine]`` is a table in a TOML file."""
    matches = re.findall(r"(?<!\[)\b(?:harness|backends|suites)(?:\.[A-Za-z_]\w*)+", page.read_text())
    return {name for name in matches if not re.search(r"\.(py|toml|md|yml|html|json)$", name)}


#: Entry-point groups are no modules.
GROUPS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"])


@pages
def test_names_can_be_imported(page: Path) -> None:
    for name in names(page) - GROUPS - REJECTED:
        assert importable(name), f"{page.name}: {name}"


def importable(name: str) -> bool:
    """Whether it is a module, or something in one."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            value: object = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            value = getattr(value, part, None)
        return value is not None
    return False


def test_a_name_that_is_not_there_is_noticed() -> None:
    assert importable("harness.core.verdict.Gate")
    assert not importable("harness.core.verdict.Gates")
    assert not importable("harness.cores.verdict")


PATH = re.compile(
    r"(?<![\w/.~-])(?:harness|backends|suites|docs|tests|targets|models|benchmarks|results)/[\w./*-]+"
)


def paths(page: Path) -> set[str]:
    """Paths in a page that begin with a folder of the repository."""
    return {path.rstrip("./") for path in PATH.findall(page.read_text())}


BUNDLED = (
    "models/cancer", "models/characters", "models/detector", "models/digits", "models/rows", "models/scenes",
)  # fmt: skip


@pages
def test_paths_exist(page: Path) -> None:
    for path in paths(page) - EXAMPLES:
        if path.startswith("results/") and path != "results/README.md":
            continue  # what runs write
        if path.startswith("models/") and not path.startswith(BUNDLED):
            continue  # the reader's own model
        assert list(ROOT.glob(path)) or (page.parent / path).exists(), f"{page.name}: {path}"


def test_no_example_is_left_over() -> None:
    assert set().union(*map(paths, PAGES)) >= EXAMPLES
    assert set().union(*map(names, PAGES)) >= REJECTED


def test_the_rooms_are_those_of_the_contract() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    (chart,) = re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)
    drawn = [
        set(re.findall(r"^    (\w+)$", level, re.MULTILINE))
        for level in re.findall(r"subgraph .*?\n(.*?)  end", chart, re.DOTALL)
    ]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract.get("containers") == ["harness"]]
    assert drawn == [{room.strip() for room in re.split(r"[|:]", layer)} for layer in layers]
    order = re.findall(r"l\d+", chart.splitlines()[-1])
    assert order == [f"l{number}" for number in range(1, len(layers) + 1)]
    described = set(re.findall(r"`harness/(\w+)(?:\.py)?`", text))
    assert set().union(*drawn) <= described


def test_decisions_are_numbered_and_dated() -> None:
    files = sorted((ROOT / "docs" / "decisions").iterdir())
    assert [path.name[:5] for path in files] == [f"{number:04}-" for number in range(1, len(files) + 1)]
    dates = []
    for path in files:
        title, blank, date, *_ = path.read_text().splitlines()
        assert title.startswith("# "), path
        assert blank == "", path
        dates.append(re.fullmatch(r"Date: (\d{4}-\d\d-\d\d)", date))
        assert dates[-1], f"{path}: {date}"


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name}" in index, page


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_links_to_headings_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
        place = page.parent / target if target else page
        assert anchor in anchors(place), f"{page.name} links to {target}#{anchor}"
