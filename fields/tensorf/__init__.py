"""TensoRF: one box of factors, vector-matrix (VM) or three vectors (CP)."""

from .config import TensorfConfig
from .field import TensorfField
from .method import TensorfMethod

__all__ = ["TensorfConfig", "TensorfField", "TensorfMethod"]
