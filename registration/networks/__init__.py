"""Point networks that know of turns, shifts and orders: features, colors, classification."""

from .coloring import BACKBONES, BackboneName, Coloring
from .deep_sets import DeepSet, DeepSetsBackbone, EquivariantLayer, OutlierDetector
from .gatr import Gatr, GatrBackbone, GatrBlock
from .geometric_attention import GeometricAttention, GeometricAttentionBackbone
from .ponita import PonitaBackbone, PonitaBlock
from .shape_backbone import ShapeBackbone

__all__ = [
    "BACKBONES",
    "BackboneName",
    "Coloring",
    "DeepSet",
    "DeepSetsBackbone",
    "EquivariantLayer",
    "Gatr",
    "GatrBackbone",
    "GatrBlock",
    "GeometricAttention",
    "GeometricAttentionBackbone",
    "OutlierDetector",
    "PonitaBackbone",
    "PonitaBlock",
    "ShapeBackbone",
]
