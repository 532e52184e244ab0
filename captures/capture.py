"""A posed image set: cameras, lazily decoded images and a train/test split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from jaxtyping import Bool, Float
from torch import Tensor

from .cameras import Cameras
from .similarity import Similarity


@dataclass(frozen=True)
class View:
    """One decoded image of a capture at the capture's resolution."""

    image: Float[Tensor, "H W 3"]
    """sRGB in [0, 1], float32; premultiplied by `alpha` where there is one."""
    alpha: Float[Tensor, "H W"] | None = None
    """Opacity of the source image in [0, 1]; None for opaque images."""
    mask: Bool[Tensor, "H W"] | None = None
    """True where the pixel may be compared with a render; None means everywhere."""
    depth: Float[Tensor, "H W"] | None = None
    """Measured z-depth in capture units, 0 where unknown."""

    def over(self, background: Float[Tensor, "3"]) -> Float[Tensor, "H W 3"]:
        """The image composited over `background`; opaque images are returned as they are."""
        if self.alpha is None:
            return self.image
        return self.image + (1 - self.alpha[..., None]) * background


@dataclass(frozen=True)
class SparsePoints:
    """Points that the poses were solved with."""

    positions: Float[Tensor, "M 3"]
    """Capture frame, float32."""
    colors: Float[Tensor, "M 3"]
    """sRGB in [0, 1], float32."""


@dataclass(frozen=True)
class Capture:
    """What every trainer and every evaluation starts from. Made by `load_capture`."""

    source: Path
    """The folder it was read from."""
    cameras: Cameras
    """One camera per image, undistorted, in the capture's own frame."""
    image_names: tuple[str, ...]
    """Names relative to the image folder, in split order."""
    train: tuple[int, ...]
    """Indices of the training images."""
    test: tuple[int, ...]
    """Indices of the held-out images."""
    split: str
    """How `train` and `test` were chosen, in words, recorded in every result."""
    load_view: Callable[[int], View]
    """Decodes one image through the bounded cache; prefer `view`."""
    points: SparsePoints | None = None
    """Sparse points in the capture's frame."""
    T_source_capture: Similarity = field(default_factory=Similarity)
    """From the capture's frame to the source's; every export applies it."""
    resolution: str = "full size"
    """How the images were resampled, in words, recorded in every result."""
    cache_capacity: int | None = None
    """How many decoded images stay in memory; None where nothing limits them."""

    def __len__(self) -> int:
        return len(self.cameras)

    def view(self, index: int) -> View:
        """The decoded image `index`, undistorted and at the capture's resolution."""
        return self.load_view(index)

    def require_training_photos(self) -> None:
        """Refuse to be trained on without any photo for it.

        Raises:
            ValueError: `train` is empty.
        """
        if not self.train:
            raise ValueError(f"{self.source} has no training images; use a larger --test-every.")

    def preload(self, indices: Sequence[int] | None = None, *, num_threads: int = 2) -> None:
        """Decode `indices` (all by default) ahead of their first use, as many as the cache keeps.

        Returns when they are decoded. An image that cannot be decoded raises its error here.
        """
        wanted = (range(len(self)) if indices is None else indices)[: self.cache_capacity]
        with ThreadPoolExecutor(num_threads, thread_name_prefix="preload") as pool:
            # Consumed one by one, so that the decoded views do not pile up.
            for _ in pool.map(self._warm, wanted):
                pass

    def _warm(self, index: int) -> None:
        self.load_view(index)

    @property
    def extent(self) -> float:
        """1.1 x the largest distance of a training camera from their mean (3DGS scene extent)."""
        positions = self.cameras[list(self.train)].positions
        return 1.1 * float((positions - positions.mean(0)).norm(dim=1).max())
