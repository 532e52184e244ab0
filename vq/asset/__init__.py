"""The `.fwa` container: checksummed sections and a graph of codecs that turns them into arrays.

The byte-level specification is docs/asset-format.md.
"""

from .array_type import ArrayType
from .errors import AssetError
from .graph import (
    Apply,
    Coded,
    Node,
    add,
    coarseness,
    columns,
    concatenate,
    constant,
    gather,
    linear,
    reshape,
    scale,
    shift,
    stack,
)
from .header import Header, Section
from .layout import MAGIC
from .planes import PlanesCodec
from .raw import RawCodec
from .reader import ArrayInfo, Asset, open_asset
from .sets import SetCodec, set_order
from .vectors import PlacedVectorsCodec
from .writer import AssetWriter

__all__ = [
    "MAGIC",
    "Apply",
    "ArrayInfo",
    "ArrayType",
    "Asset",
    "AssetError",
    "AssetWriter",
    "Coded",
    "Header",
    "Node",
    "PlacedVectorsCodec",
    "PlanesCodec",
    "RawCodec",
    "Section",
    "SetCodec",
    "add",
    "coarseness",
    "columns",
    "concatenate",
    "constant",
    "gather",
    "linear",
    "open_asset",
    "reshape",
    "scale",
    "set_order",
    "shift",
    "stack",
]
