"""Which training image comes next, and the images ready for comparison."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import interpolate

from captures import Cameras, Capture

_CACHE_BYTES = 1 << 30


class ViewOrder:
    """Training views in random order, each once before any comes again."""

    def __init__(self, count: int, *, seed: int) -> None:
        self._count = count
        self._generator = torch.Generator().manual_seed(seed)
        self._left: list[int] = []

    def next(self) -> int:
        """Position of the next view, 0 to count - 1."""
        if not self._left:
            self._left = torch.randperm(self._count, generator=self._generator).tolist()
        return self._left.pop()

    def state_dict(self) -> dict[str, Any]:
        """The views left in this round and the random state."""
        return {"left": list(self._left), "random": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self._left = list(state["left"])
        self._generator.set_state(state["random"])


@dataclass(frozen=True)
class Target:
    """One training image at the resolution it is compared at, on the training device."""

    viewmat: Float[Tensor, "1 4 4"]
    """World to camera, float32."""
    K: Float[Tensor, "1 3 3"]
    """Intrinsics in pixels of this resolution, float32."""
    image: Float[Tensor, "H W 3"]
    """sRGB in [0, 1], premultiplied by `alpha`."""
    alpha: Float[Tensor, "H W 1"] | None
    """Opacity of the photo; None for opaque ones."""
    mask: Bool[Tensor, "H W"] | None
    """Pixels that count; None means all."""

    @property
    def num_bytes(self) -> int:
        """Memory of the images."""
        return sum(t.nbytes for t in (self.image, self.alpha, self.mask) if t is not None)


class Targets:
    """Training images as `Target`s, kept while they fit into a gigabyte."""

    def __init__(self, capture: Capture, device: torch.device) -> None:
        self._capture, self._device = capture, device
        self._kept: OrderedDict[tuple[int, int], Target] = OrderedDict()
        self._bytes = 0

    def __call__(self, position: int, reduction: int) -> Target:
        """The training image at `position`, its sides divided by `reduction`."""
        key = (position, reduction)
        target = self._kept.get(key)
        if target is None:
            target = self._make(self._capture.train[position], reduction)
            self._kept[key] = target
            self._bytes += target.num_bytes
            while self._bytes > _CACHE_BYTES and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].num_bytes
        return target

    def _make(self, index: int, reduction: int) -> Target:
        view = self._capture.view(index)
        camera: Cameras = self._capture.cameras[index]
        height, width = view.image.shape[:2]
        size = (max(1, height // reduction), max(1, width // reduction))

        def reduced(channels: Tensor) -> Tensor:
            if reduction == 1:
                return channels
            planes = channels.movedim(-1, 0)[None]
            return interpolate(planes, size, mode="area")[0].movedim(0, -1).contiguous()

        mask = view.mask
        if mask is not None:
            # A reduced pixel counts only if everything it averages does.
            mask = reduced(mask[..., None].float())[..., 0] > 0.999
            mask = None if bool(mask.all()) else mask.to(self._device)
        camera = camera.resized(size[1], size[0])
        return Target(
            viewmat=camera.viewmats.float().to(self._device),
            K=camera.Ks.float().to(self._device),
            image=reduced(view.image).to(self._device),
            alpha=None if view.alpha is None else reduced(view.alpha[..., None]).to(self._device),
            mask=mask,
        )
