"""Looking at scenes in a browser, during and after training."""

from .app import NamedScene, SceneViewer, require_viser
from .live import LiveViewer

__all__ = ["LiveViewer", "NamedScene", "SceneViewer", "require_viser"]
