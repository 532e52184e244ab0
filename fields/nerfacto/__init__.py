"""nerfacto: proposal sampling over hash grids in contracted space."""

from .config import NerfactoConfig
from .files import load_nerfacto, save_nerfacto
from .model import Nerfacto

__all__ = ["Nerfacto", "NerfactoConfig", "load_nerfacto", "save_nerfacto"]
