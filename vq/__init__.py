"""Quantizers, transforms, entropy coding and the asset file. Knows tensors and bytes only."""

from .contract import Codec, CodecError, Quantized, Quantizer, Transform
from .nearest import nearest

__all__ = ["Codec", "CodecError", "Quantized", "Quantizer", "Transform", "nearest"]
