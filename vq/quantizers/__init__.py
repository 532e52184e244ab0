"""Vectors to indices and back, inside training or fitted to data: one file per method."""

from .balanced import BalancedQuantizer, sinkhorn_assignment
from .binary import BinarySphericalQuantizer, LookupFreeQuantizer
from .code_lengths import code_lengths, ideal_bits
from .ema import VectorQuantizer
from .entropy_constrained import EntropyConstrainedQuantizer
from .factorized import AttributeGroup, FactorizedQuantizer, attribute_factored
from .fsq import FiniteScalarQuantizer
from .gradients import lower_bound, reverse_gradient, straight_through
from .grouped import GroupedQuantizer
from .gumbel import GumbelQuantizer
from .lowrank import LowRankQuantizer
from .multiscale import MultiScaleQuantized, MultiScaleQuantizer
from .philox import philox4x32, portable_normals
from .product import ProductQuantizer
from .residual import ResidualQuantizer
from .rotation import rotate
from .simvq import SimVQ

__all__ = [
    "AttributeGroup",
    "BalancedQuantizer",
    "BinarySphericalQuantizer",
    "EntropyConstrainedQuantizer",
    "FactorizedQuantizer",
    "FiniteScalarQuantizer",
    "GroupedQuantizer",
    "GumbelQuantizer",
    "LookupFreeQuantizer",
    "LowRankQuantizer",
    "MultiScaleQuantized",
    "MultiScaleQuantizer",
    "ProductQuantizer",
    "ResidualQuantizer",
    "SimVQ",
    "VectorQuantizer",
    "attribute_factored",
    "code_lengths",
    "ideal_bits",
    "lower_bound",
    "philox4x32",
    "portable_normals",
    "reverse_gradient",
    "rotate",
    "sinkhorn_assignment",
    "straight_through",
]
