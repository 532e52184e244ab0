"""Averages of rotations and motions, of one or of a whole graph of relative measurements."""

from .cycles import Triangles, bridges, edge_support, triangles
from .flags import chordal_distances, flag_mean, flag_median
from .graph import RotationGraph
from .pose_graph import OptimizedPoses, PoseGraph, optimize_poses
from .rotations import AveragedRotations, RotationMethod, average_rotations
from .single import average_motion, average_rotation
from .translations import average_translations

__all__ = [
    "AveragedRotations",
    "OptimizedPoses",
    "PoseGraph",
    "RotationGraph",
    "RotationMethod",
    "Triangles",
    "average_motion",
    "average_rotation",
    "average_rotations",
    "average_translations",
    "bridges",
    "chordal_distances",
    "edge_support",
    "flag_mean",
    "flag_median",
    "optimize_poses",
    "triangles",
]
