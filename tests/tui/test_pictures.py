"""The README's pictures show the dashboard of today: python docs/pictures.py draws them anew, from real runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from . import snapshots

SAME_AS = {"dashboard": "run", "compare": "compare", "data": "data"}
"""Picture of the README -> the kept picture of that place, which a test holds to what is drawn now."""
TITLES = {
    "dashboard": ("loss", "perplexity", "learning rate", "speed", "figures", "samples", "log"),
    "compare": ("result", "settings that differ", "train.learning_rate", "as shipped", "twice the rate"),
    "data": ("figures", "documents", "rows", "tokens", "train", "validation"),
}
SOMETIMES = {"w Why", "^p Palette"}
"""Keys of a run that was healed, and of a row with room for them."""
AGAIN = "python docs/pictures.py draws it anew"


def keys_of(rows: list[str]) -> list[str]:
    return re.split(r" {2,}", rows[-1].strip())


@pytest.mark.parametrize("name", SAME_AS)
def test_a_picture_has_the_places_the_keys_and_the_panes_of_today(name: str, repository: Path) -> None:
    picture = snapshots.rows((repository / "docs" / f"{name}.svg").read_text())
    kept = snapshots.rows(snapshots.read(snapshots.path_of(SAME_AS[name], (120, 40))))
    places = re.findall(r"\d [A-Z]\w+", kept[0])
    assert len(places) >= 7
    assert re.findall(r"\d [A-Z]\w+", picture[0]) == places, AGAIN
    assert set(keys_of(picture)) ^ set(keys_of(kept)) <= SOMETIMES, AGAIN
    text = "\n".join(picture)
    assert [title for title in TITLES[name] if title not in text] == [], AGAIN


def test_the_readme_shows_each_of_them(repository: Path) -> None:
    text = (repository / "README.md").read_text()
    assert re.findall(r"!\[[^]]+\]\(docs/(\w+)\.svg\)", text) == ["dashboard", "data", "compare"]
