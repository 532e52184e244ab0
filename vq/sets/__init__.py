"""Sets of points with integer columns as bytes, without paying for an order that has no meaning."""

from .codec import breakdown, coarsenings, decode, encode
from .morton import morton_codes, morton_order, morton_points
from .neighbors import earlier_neighbors

__all__ = [
    "breakdown",
    "coarsenings",
    "decode",
    "earlier_neighbors",
    "encode",
    "morton_codes",
    "morton_order",
    "morton_points",
]
