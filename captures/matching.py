"""Which image pairs are compared, and their comparison by pycolmap."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Literal

EXHAUSTIVE_LIMIT = 100
"""Up to this many images all pairs are compared (4950 pairs, minutes on two cores)."""

_NEIGHBORS = 10  # images further along the sequence that each image is compared with
_KEYFRAME_EVERY = 10  # all pairs of these are compared too, which closes loops


def image_pairs(
    names: Sequence[str], *, matcher: Literal["auto", "exhaustive", "sequential"]
) -> list[tuple[str, str]]:
    """Pairs of names to compare.

    Exhaustive gives all pairs. Sequential gives each image its next ten neighbours, those at
    distances of powers of two, and all pairs of every tenth image, which closes loops without a
    vocabulary tree. Auto is exhaustive for up to `EXHAUSTIVE_LIMIT` images.
    """
    if matcher == "exhaustive" or (matcher == "auto" and len(names) <= EXHAUSTIVE_LIMIT):
        return list(combinations(names, 2))
    offsets = set(range(1, _NEIGHBORS + 1)) | {2**k for k in range(4, len(names).bit_length())}
    pairs = {
        (i, i + offset) for i in range(len(names)) for offset in offsets if i + offset < len(names)
    }
    pairs |= set(combinations(range(0, len(names), _KEYFRAME_EVERY), 2))
    return [(names[i], names[j]) for i, j in sorted(pairs)]


def match(
    database: Path,
    names: Sequence[str],
    *,
    matcher: Literal["auto", "exhaustive", "sequential"],
    threads: int,
) -> None:
    """Compares the features of image pairs and stores verified matches in `database`.

    Args:
        database: COLMAP database that holds the features.
        names: images in the order they were taken.
        matcher: see `image_pairs`.
        threads: CPU threads; -1 takes all.
    """
    import pycolmap

    listing = database.with_name("pairs.txt")
    pairs = image_pairs(names, matcher=matcher)
    listing.write_text("".join(f"{first} {second}\n" for first, second in pairs))
    matching = pycolmap.FeatureMatchingOptions()
    matching.num_threads, matching.use_gpu = threads, False
    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path = listing
    pycolmap.match_image_pairs(
        database, matching_options=matching, pairing_options=pairing, device=pycolmap.Device.cpu
    )
