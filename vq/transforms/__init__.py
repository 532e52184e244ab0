"""Changes of coordinates in front of quantizers and codecs; see `vq.contract.Transform`."""

from .dct import dct
from .gauge import (
    CanonicalFactors,
    CanonicalFrames,
    canonical_factors,
    canonical_frames,
    expand,
    original_frames,
)
from .hadamard import RandomizedHadamard
from .klt import fit_klt
from .leanvec import fit_leanvec, product_error
from .linear import LinearTransform
from .lowrank import expected_distortions, fit_low_rank

__all__ = [
    "CanonicalFactors",
    "CanonicalFrames",
    "LinearTransform",
    "RandomizedHadamard",
    "canonical_factors",
    "canonical_frames",
    "dct",
    "expand",
    "expected_distortions",
    "fit_klt",
    "fit_leanvec",
    "fit_low_rank",
    "original_frames",
    "product_error",
]
