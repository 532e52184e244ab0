"""Decoded views of a capture, made on demand and kept in a cache of bounded size."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from .capture import View
from .images import decode_depth, decode_image, decode_mask
from .lenses import Lens, source_grid
from .photos import Photo


@dataclass(frozen=True)
class StoredView:
    """A view as the cache keeps it: colors in 8 bits, a quarter of `View`'s size."""

    rgb: UInt8[Tensor, "H W 3"]
    """Premultiplied by `alpha`."""
    alpha: UInt8[Tensor, "H W"] | None
    """As in `View`."""
    mask: Bool[Tensor, "H W"] | None
    """As in `View`."""
    depth: Float[Tensor, "H W"] | None
    """As in `View`."""

    @property
    def num_bytes(self) -> int:
        """Memory it occupies."""
        values = (getattr(self, item.name) for item in fields(self))
        return sum(value.nbytes for value in values if value is not None)

    def view(self) -> View:
        """The view with float colors."""
        return View(
            image=self.rgb.float() / 255,
            alpha=None if self.alpha is None else self.alpha.float() / 255,
            mask=self.mask,
            depth=self.depth,
        )


class ViewLoader:
    """Decodes, resamples and undistorts photos; keeps the most recently used in memory.

    Safe to call from several threads. An image that two threads ask for at the same moment may be
    decoded twice.
    """

    def __init__(
        self,
        photos: Sequence[Photo],
        lenses: Sequence[Lens],
        *,
        undistort: bool,
        depth_scale: float,
        cache_bytes: int,
    ) -> None:
        """
        Args:
            photos: The image files.
            lenses: One per photo, at the size to deliver.
            undistort: Deliver the pinhole image with the lens' size and intrinsics.
            depth_scale: Capture units per unit of the photos' own frame.
            cache_bytes: Memory for decoded views; 0 keeps none.
        """
        self._photos = tuple(photos)
        self._lenses = tuple(lenses)
        self._undistort = undistort
        self._depth_scale = depth_scale
        self._cache_bytes = cache_bytes
        self._cached: OrderedDict[int, StoredView] = OrderedDict()
        self._num_bytes = 0
        self._lock = threading.Lock()
        # Photos of one camera share the map; two keep the memory small with alternating cameras.
        self._grid = lru_cache(maxsize=2)(source_grid)

    def __call__(self, index: int) -> View:
        """The view `index`, decoded unless the cache holds it."""
        with self._lock:
            stored = self._cached.get(index)
            if stored is not None:
                self._cached.move_to_end(index)
        if stored is None:
            stored = self._decode(index)
            self._keep(index, stored)
        return stored.view()

    @property
    def capacity(self) -> int:
        """How many views the cache is sure to hold, by the size of the largest."""
        largest = max(
            lens.width * lens.height * _stored_pixel_bytes(photo)
            for photo, lens in zip(self._photos, self._lenses, strict=True)
        )
        return self._cache_bytes // largest

    @property
    def num_cached_bytes(self) -> int:
        """Memory that the cached views occupy, at most `cache_bytes`."""
        return self._num_bytes

    def _keep(self, index: int, stored: StoredView) -> None:
        if stored.num_bytes > self._cache_bytes:
            return
        with self._lock:
            if index in self._cached:
                return
            self._cached[index] = stored
            self._num_bytes += stored.num_bytes
            while self._num_bytes > self._cache_bytes:
                _, dropped = self._cached.popitem(last=False)
                self._num_bytes -= dropped.num_bytes

    def _decode(self, index: int) -> StoredView:
        photo, lens = self._photos[index], self._lenses[index]
        size, target = (photo.lens.width, photo.lens.height), (lens.width, lens.height)
        pixels = decode_image(photo.path, size=size, target=target)
        mask = depth = None
        if photo.mask_path is not None:
            mask = decode_mask(photo.mask_path, target=target)
        if photo.depth_path is not None:
            depth = decode_depth(photo.depth_path, target=target)
            depth = depth * (photo.depth_scale * self._depth_scale)
        stored = StoredView(pixels.rgb, pixels.alpha, mask, depth)
        if self._undistort and not lens.is_pinhole:
            stored = undistort_view(stored, *self._grid(lens))
        return stored


def _stored_pixel_bytes(photo: Photo) -> int:
    """Colors, alpha and mask, and float depth where there is one."""
    return 5 + (4 if photo.depth_path else 0)


def undistort_view(
    stored: StoredView, source: Float[Tensor, "H W 2"], inside: Bool[Tensor, "H W"]
) -> StoredView:
    """`stored` resampled at the pixels `source` (see `source_grid`).

    Colors and alpha are interpolated bicubically, depths taken from the nearest pixel. A pixel is
    masked out where the photo has no content or any masked-out pixel takes part; its color repeats
    the photo's border, so that filters across the mask's edge see no jump.
    """
    height, width = inside.shape
    size = torch.tensor([width, height], dtype=torch.float32)
    grid = (source / size * 2 - 1)[None]

    def sample(channels: Tensor, mode: str) -> Tensor:
        return F.grid_sample(
            channels[None].float(), grid, mode=mode, padding_mode="border", align_corners=False
        )[0]

    mask = inside
    if stored.mask is not None:
        mask = mask & (sample(~stored.mask[None], "bilinear")[0] < 1e-6)
    rgb, alpha, depth = stored.rgb, stored.alpha, stored.depth
    layers = rgb.movedim(-1, 0) if alpha is None else torch.cat([rgb.movedim(-1, 0), alpha[None]])
    layers = sample(layers, "bicubic").clamp(0, 255).round().byte()
    return StoredView(
        rgb=layers[:3].movedim(0, -1).contiguous(),
        alpha=None if alpha is None else layers[3],
        mask=None if bool(mask.all()) else mask,
        depth=None if depth is None else sample(depth[None], "nearest")[0] * inside,
    )
