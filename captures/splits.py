"""Which images are trained on and which are held out, with the choice put into words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from .photos import ListedSplit

SplitRule = Literal["listed", "every", "fraction"]

_TRAIN_FRACTION = 0.9  # nerfstudio's default


@dataclass(frozen=True)
class Split:
    """Indices into the images sorted by name."""

    train: tuple[int, ...]
    """Trained on."""
    test: tuple[int, ...]
    """Held out."""
    description: str
    """The rule in words."""


def choose_split(
    names: Sequence[str],
    *,
    rule: SplitRule | Path | None = None,
    test_every: int = 8,
    listed: ListedSplit | None = None,
) -> Split:
    """Divide `names`, which must be sorted.

    Args:
        names: Image names in split order.
        rule: `"every"` holds out every `test_every`-th image beginning with the first (the protocol
            of Mip-NeRF 360 and 3DGS); `"fraction"` trains on 90 % spread evenly (nerfstudio);
            `"listed"` follows the source; a path is a text file with one held-out name a line.
            None is `"listed"` where the source names held-out images, else `"every"`.
        test_every: 0 trains on all images, whatever the rule.
        listed: The source's own lists.

    Raises:
        ValueError: The rule does not apply, or leaves no training image.
    """
    if test_every < 0:
        raise ValueError(f"`test_every` must be 0 (train on all images) or more, got {test_every}.")
    if test_every == 0:
        return _complete(names, set(), "all images are trained on, none is held out")
    if isinstance(rule, Path):
        return _from_file(names, rule)
    has_lists = listed is not None and bool(listed.test)
    match rule or ("listed" if has_lists else "every"):
        case "every":
            held_out = set(range(0, len(names), test_every)) if test_every > 1 else set()
            if test_every == 1:
                raise ValueError("`test_every` of 1 would hold out every image; use 2 or more.")
            text = f"every {_ordinal(test_every)} image by sorted name is held out"
            return _complete(names, held_out, text)
        case "fraction":
            return _evenly(names)
        case "listed":
            if listed is None or not has_lists:
                raise ValueError(
                    "`split` is 'listed', but the capture names no held-out images; "
                    "use 'every' or 'fraction'."
                )
            return _by_lists(names, listed)
    raise ValueError(f"`split` must be listed, every, fraction or a file, got {rule!r}.")


def _complete(names: Sequence[str], held_out: set[int], description: str) -> Split:
    train = tuple(index for index in range(len(names)) if index not in held_out)
    if not train:
        raise ValueError(
            f"no image is left to train on: {len(names)} in the capture, {len(held_out)} held out "
            f"({description}); use test_every=0 to train on all."
        )
    return Split(train, tuple(sorted(held_out)), f"{description} ({len(train)}+{len(held_out)})")


def _from_file(names: Sequence[str], path: Path) -> Split:
    wanted = {line.strip() for line in path.read_text(encoding="utf-8").splitlines()} - {""}
    unknown = wanted - set(names)
    if unknown:
        raise ValueError(
            f"{path} holds out {sorted(unknown)[:3]}, which the capture does not have; "
            f"its names look like {names[0]!r}."
        )
    held_out = {index for index, name in enumerate(names) if name in wanted}
    return _complete(names, held_out, f"images named in {path.name} are held out")


def _evenly(names: Sequence[str]) -> Split:
    """The same indices as nerfstudio: training images at evenly spaced, truncated positions."""
    count = math.ceil(len(names) * _TRAIN_FRACTION)
    train = set(np.linspace(0, len(names) - 1, count, dtype=int).tolist())
    text = f"{_TRAIN_FRACTION:.0%} of the images, evenly spaced by sorted name, are trained on"
    return _complete(names, set(range(len(names))) - train, text)


def _by_lists(names: Sequence[str], listed: ListedSplit) -> Split:
    train = tuple(index for index, name in enumerate(names) if name in listed.train)
    test = tuple(index for index, name in enumerate(names) if name in listed.test)
    if not train or not test:
        raise ValueError(
            f"{listed.description}: of the lists, {len(train)} training and {len(test)} held-out "
            f"images exist, at least one of each is needed; use split='every'."
        )
    return Split(train, test, f"{listed.description} ({len(train)}+{len(test)})")


def _ordinal(number: int) -> str:
    last_two = number % 100
    ending = "th" if 10 <= last_two <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
