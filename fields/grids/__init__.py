"""What fields that are sampled through an occupancy grid share: training, settings, and files."""

from .config import GridConfig
from .contract import GridField
from .files import load_grid_field, load_grid_scene, save_grid_field
from .method import GridMethod

__all__ = [
    "GridConfig",
    "GridField",
    "GridMethod",
    "load_grid_field",
    "load_grid_scene",
    "save_grid_field",
]
