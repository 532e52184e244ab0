"""Posed image sets: cameras, loaders, splits, image metrics and the Renderable protocol."""

from .cameras import CameraModel, Cameras
from .capture import Capture, SparsePoints, View
from .checks import ensure_shape
from .colmap import write_colmap
from .from_images import FromImagesOptions, from_images
from .load import load_capture
from .metrics import lpips_or_none, psnr, ssim
from .renderable import Channel, Renderable, RenderOutput
from .sample import make_sample_capture
from .similarity import Similarity

__all__ = [
    "CameraModel",
    "Cameras",
    "Capture",
    "Channel",
    "FromImagesOptions",
    "RenderOutput",
    "Renderable",
    "Similarity",
    "SparsePoints",
    "View",
    "ensure_shape",
    "from_images",
    "load_capture",
    "lpips_or_none",
    "make_sample_capture",
    "psnr",
    "ssim",
    "write_colmap",
]
