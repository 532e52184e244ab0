"""Which images are held out."""

from __future__ import annotations

from pathlib import Path

import pytest

from captures.photos import ListedSplit
from captures.splits import choose_split

NAMES = tuple(f"{index:03d}.png" for index in range(20))
LISTS = ListedSplit(frozenset(NAMES[:3]), frozenset(NAMES[5:7]), "lists of the test")


def test_every_eighth_begins_with_the_first() -> None:
    split = choose_split(NAMES)
    assert split.test == (0, 8, 16)
    assert sorted(split.train + split.test) == list(range(20))
    assert split.description == "every 8th image by sorted name is held out (17+3)"


def test_fraction_follows_nerfstudio() -> None:
    # numpy.linspace(0, 19, 18, dtype=int) skips exactly these two.
    split = choose_split(NAMES, rule="fraction")
    assert split.test == (9, 18)
    assert len(split.train) == 18 and split.train[0] == 0 and split.train[-1] == 19


def test_lists_win_by_default_and_can_be_overruled() -> None:
    assert choose_split(NAMES, listed=LISTS).test == (5, 6)
    assert choose_split(NAMES, listed=LISTS).train == (0, 1, 2)
    assert choose_split(NAMES, listed=LISTS, rule="every").test == (0, 8, 16)
    assert choose_split(NAMES, listed=LISTS, test_every=0).test == ()
    assert len(choose_split(NAMES, listed=LISTS, test_every=0).train) == 20


def test_a_file_names_the_held_out_images(tmp_path: Path) -> None:
    path = tmp_path / "test.txt"
    path.write_text("004.png\n\n001.png\n")
    split = choose_split(NAMES, rule=path)
    assert split.test == (1, 4) and len(split.train) == 18
    path.write_text("missing.png\n")
    with pytest.raises(ValueError, match="which the capture does not have"):
        choose_split(NAMES, rule=path)


def test_rules_that_do_not_apply() -> None:
    with pytest.raises(ValueError, match=r"0 .* or more, got -1"):
        choose_split(NAMES, test_every=-1)
    with pytest.raises(ValueError, match="would hold out every image"):
        choose_split(NAMES, test_every=1)
    with pytest.raises(ValueError, match="names no held-out images"):
        choose_split(NAMES, rule="listed")
    with pytest.raises(ValueError, match="no image is left to train on"):
        choose_split(NAMES[:1])
