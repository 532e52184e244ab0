"""Tensor decompositions as fields' features: local CP products and vector-matrix (VM) products."""

from .cp import LocalPairs, cp_features
from .vm import VmFactors, vm_features

__all__ = ["LocalPairs", "VmFactors", "cp_features", "vm_features"]
