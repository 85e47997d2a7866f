"""docs/shift.md says of every family of ours what its declaration says."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from harness.data.shifts import catalogue
from harness.data.shifts.family import Family, Kind
from harness.device import plugins

PAGE = Path(__file__).parents[4] / "docs" / "shift.md"


def families(*, mistake: bool, kinds: Iterable[Kind]) -> list[Family]:
    return [one for one in ours() if one.mistake is mistake and set(one.kinds) & set(kinds)]


def ours() -> list[Family]:
    plugged = plugins.catalogue(plugins.SHIFTS).values()
    listed = [one for plugin in plugged if plugin.distribution == plugins.HARNESS for one in plugin.load()]
    return [one for one in catalogue.families() if one in listed]


#: Section of the page to its families.
TABLES: Mapping[str, list[Family]] = {
    "Families of images": families(mistake=False, kinds=[Kind.IMAGE]),
    "Families of tables and series": families(mistake=False, kinds=[Kind.TABLE, Kind.SERIES]),
    "Mistakes of a deployment": families(mistake=True, kinds=Kind),
}


def lines(section: str) -> list[str]:
    """The list of one section, as the page has it."""
    words = {Kind.TABLE: "tables", Kind.SERIES: "series", Kind.IMAGE: "images"}
    of_section = {kind for one in TABLES[section] for kind in one.kinds}
    written = []
    for one in TABLES[section]:
        where = f" ({', '.join(words[kind] for kind in one.kinds)})" if of_section - {*one.kinds} else ""
        meaning = "No loss" if one.mistake else "A loss"
        text = f"- **`{one.name}`**{where} {one.stands_for} *{meaning}:* {one.loss_means}"
        text += "" if one.mistake else f" *Source:* {one.source}."
        written += textwrap.wrap(text, 117, subsequent_indent="  ", break_on_hyphens=False)
    return written


@pytest.mark.parametrize("section", TABLES)
def test_the_page_says_what_the_families_declare(section: str) -> None:
    assert "\n".join(lines(section)) in PAGE.read_text()


def test_every_family_of_ours_is_on_the_page() -> None:
    on_page = {one.name for section in TABLES.values() for one in section}
    assert on_page >= {one.name for one in ours() if set(one.kinds) - {Kind.AUDIO}}
