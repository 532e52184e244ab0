"""Views joined by fundamental matrices: whether these belong together, and cameras from them."""

from .cameras import ProjectiveCameras, projective_cameras
from .cleaning import CleanedGraph, clean
from .colmap_database import DatabaseGraph, GraphReport, clean_database, read_graph
from .compatibility import Compatibility, quadruple_compatibility, triple_compatibility
from .fundamental import EstimatedFundamental, epipoles, estimate_fundamental
from .graph import ViewingGraph

__all__ = [
    "CleanedGraph",
    "Compatibility",
    "DatabaseGraph",
    "EstimatedFundamental",
    "GraphReport",
    "ProjectiveCameras",
    "ViewingGraph",
    "clean",
    "clean_database",
    "epipoles",
    "estimate_fundamental",
    "projective_cameras",
    "quadruple_compatibility",
    "read_graph",
    "triple_compatibility",
]
