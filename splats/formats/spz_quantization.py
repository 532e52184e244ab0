"""Gaussians to the integers of an SPZ file and back.

Everything here is elementwise and in the axes of the file: no frame is changed.

Reference: github.com/nianticlabs/spz, src/cc/load-spz.cc (July 2026).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..gaussians import Gaussians

MAX_FRACTIONAL_BITS = 20
"""Finest position step that is written, 2^-20; known decoders accept it."""
DEFAULT_FRACTIONAL_BITS = 12
"""What the reference writer always uses, and the coarsest step here unless the range forces one."""
MAX_POSITION = (1 << 23) - 1
"""Largest position integer: 24 bits, signed."""
MIN_ALPHA = 1e-6
"""Opacities 0 and 1 decode this far from the ends, so that their logits are finite."""

_COLOR_SCALE = 0.15  # f_dc = (byte / 255 - 0.5) / 0.15
_SQRT_HALF = math.sqrt(0.5)
_INFINITE = (-math.inf, math.inf)
_HELD = {
    "means": _INFINITE,
    "quats": _INFINITE,
    "log_scales": (-10 - 0.5 / 16, 255 / 16 - 10 + 0.5 / 16),
    "logit_opacities": _INFINITE,
    "sh0": (-0.5 / _COLOR_SCALE, 0.5 / _COLOR_SCALE),
    "shN": (-1.0, 1.0),
}  # what values decode to at most, and half a step where the step is the same for all files
_FINITE = ("means", "quats", "sh0", "shN")
_STEPS_PER_SIZE = 8  # position steps in the smallest relevant standard deviation


@dataclass(frozen=True)
class PackedSpz:
    """The integers of an SPZ file, as stored."""

    version: int
    """1 to 4: the layout of `positions` and `rotations`."""
    sh_degree: int
    """0 to 4."""
    fractional_bits: int
    """Position = positions * 2^-fractional_bits (versions 2 to 4)."""
    antialiased: bool
    """True where the scene was trained with the opacity compensation of Mip-Splatting."""
    positions: NDArray[np.int32]
    """[N, 3], signed 24-bit values; in version 1 the bit patterns of float16."""
    alphas: NDArray[np.uint8]
    """[N], opacity times 255."""
    colors: NDArray[np.uint8]
    """[N, 3], f_dc = (value / 255 - 0.5) / 0.15."""
    scales: NDArray[np.uint8]
    """[N, 3], log scale = value / 16 - 10."""
    rotations: NDArray[np.unsignedinteger]
    """Versions 1 and 2: [N, 3] uint8, x y z of (x, y, z, w >= 0) as value / 127.5 - 1. Versions 3
    and 4: [N] uint32, bits 31-30 the index of the largest of (x, y, z, w), then the other three
    in increasing index with 10 bits each: a sign and 9 bits of magnitude * 511 * sqrt(2)."""
    sh: NDArray[np.uint8]
    """[N, K - 1, 3], coefficient = (value - 128) / 128."""

    def __len__(self) -> int:
        return len(self.alphas)

    def __getitem__(self, index: NDArray[np.int64] | slice) -> PackedSpz:
        """The chosen Gaussians, in the order of `index`."""
        return PackedSpz(
            self.version,
            self.sh_degree,
            self.fractional_bits,
            self.antialiased,
            self.positions[index],
            self.alphas[index],
            self.colors[index],
            self.scales[index],
            self.rotations[index],
            self.sh[index],
        )


def concatenate(parts: Sequence[PackedSpz]) -> PackedSpz:
    """All Gaussians of `parts`, one after the other."""
    if len(parts) == 1:
        return parts[0]
    columns = ("positions", "alphas", "colors", "scales", "rotations", "sh")
    return replace(
        parts[0],
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in columns},
    )


def unpack_rows(
    rows: Sequence[NDArray[np.uint8]],
    *,
    version: int,
    sh_degree: int,
    fractional_bits: int,
    antialiased: bool,
) -> PackedSpz:
    """The integers in the raw bytes [n, stride] of the six streams."""
    positions, alphas, colors, scales, rotations, sh = rows
    return PackedSpz(
        version,
        sh_degree,
        fractional_bits,
        antialiased,
        positions.view("<u2").astype(np.int32) if version == 1 else _from_24_bits(positions),
        alphas[:, 0],
        colors,
        scales,
        rotations if version < 3 else rotations.view("<u4")[:, 0],
        sh.reshape(len(alphas), -1, 3),
    )


def raw_rows(packed: PackedSpz) -> list[NDArray[np.uint8]]:
    """The bytes [n, stride] of the six streams; inverse of `unpack_rows`."""
    count = len(packed)
    if packed.version == 1:
        positions = packed.positions.astype("<u2").view(np.uint8)
    else:
        positions = packed.positions.astype("<i4").view(np.uint8).reshape(count, 3, 4)[..., :3]
    rotations = packed.rotations
    if packed.version >= 3:
        rotations = rotations.astype("<u4")[:, None].view(np.uint8)
    return [
        np.ascontiguousarray(positions).reshape(count, -1),
        packed.alphas[:, None],
        packed.colors,
        packed.scales,
        rotations.astype(np.uint8, copy=False),
        packed.sh.reshape(count, -1),
    ]


def _from_24_bits(rows: NDArray[np.uint8]) -> NDArray[np.int32]:
    wide = np.zeros((len(rows), 3, 4), np.uint8)
    wide[..., 1:] = rows.reshape(-1, 3, 3)
    return (wide.view("<i4")[..., 0] >> 8).astype(np.int32, copy=False)


def decode(packed: PackedSpz) -> Gaussians:
    """The Gaussians of `packed`, float32."""
    if packed.version == 1:
        means = packed.positions.astype(np.uint16).view(np.float16).astype(np.float32)
    else:
        means = packed.positions * np.float32(2.0**-packed.fractional_bits)
    alphas = (np.arange(256) / 255).clip(MIN_ALPHA, 1 - MIN_ALPHA)
    logits = np.log(alphas / (1 - alphas)).astype(np.float32)
    decode_quats = _decode_first_three if packed.version < 3 else _decode_smallest_three
    return Gaussians(
        means=torch.from_numpy(np.ascontiguousarray(means, np.float32)),
        quats=decode_quats(packed.rotations),
        log_scales=_to_float(packed.scales).mul_(1 / 16).sub_(10),
        logit_opacities=torch.from_numpy(logits[packed.alphas]),
        sh0=_to_float(packed.colors).div_(255).sub_(0.5).div_(_COLOR_SCALE)[:, None],
        shN=_to_float(packed.sh).sub_(128).mul_(1 / 128),
    )


def _to_float(values: NDArray[np.unsignedinteger]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).float()


def _decode_first_three(rotations: NDArray[np.unsignedinteger]) -> Tensor:
    xyz = _to_float(rotations).div_(127.5).sub_(1)
    w = (1 - xyz.square().sum(1, keepdim=True)).clamp_(min=0).sqrt_()
    return torch.cat([w, xyz], dim=1)


def _decode_smallest_three(rotations: NDArray[np.unsignedinteger]) -> Tensor:
    packed = torch.from_numpy(rotations.astype(np.int64))[:, None]
    fields = packed >> torch.tensor([20, 10, 0])
    small = (fields & 511).float().mul_(_SQRT_HALF / 511)
    small = torch.where((fields & 512) != 0, -small, small)
    largest = (1 - small.square().sum(1, keepdim=True)).clamp_(min=0).sqrt_()
    # Row i: where x, y, z, w stand in (small 0 to 2, largest) when component i was dropped.
    places = torch.tensor([[3, 0, 1, 2], [0, 3, 1, 2], [0, 1, 3, 2], [0, 1, 2, 3]])
    wxyz = places[:, [3, 0, 1, 2]][packed[:, 0] >> 30]
    return torch.cat([small, largest], dim=1).gather(1, wxyz)


@dataclass
class Survey:
    """What must be known of all Gaussians before the first is written."""

    largest_coordinate: float = 0.0
    """Largest absolute coordinate."""
    num_clamped: dict[str, int] = field(default_factory=dict)
    """How many values of each attribute lie beyond what SPZ holds."""
    _sizes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))

    def add(self, chunk: Gaussians) -> None:
        """Take `chunk` into account.

        Raises:
            ValueError: It holds NaN, or infinite means, quaternions or colors.
        """
        for name, (low, high) in _HELD.items():
            values = getattr(chunk, name)
            if values.numel() == 0:
                continue
            least, most = (float(end) for end in values.aminmax())
            if math.isnan(least) or (
                name in _FINITE and not (math.isfinite(least) and math.isfinite(most))
            ):
                raise ValueError(
                    f"`{name}` must hold finite numbers, got NaN or infinity; remove such "
                    "Gaussians before writing."
                )
            if name == "means":
                self.largest_coordinate = max(self.largest_coordinate, -least, most)
            elif least < low or most > high:
                count = int(((values < low) | (values > high)).sum())
                self.num_clamped[name] = self.num_clamped.get(name, 0) + count
        octaves = (chunk.log_scales.amax(1) / math.log(2)).clamp(-64, 63).mul(2).floor().long()
        self._sizes += np.bincount(octaves.numpy() + 128, minlength=256)

    @property
    def small_size(self) -> float:
        """Standard deviation that the longest axis of 95 % of the Gaussians exceeds."""
        return 2.0 ** (
            float(np.searchsorted(self._sizes.cumsum(), 0.05 * self._sizes.sum())) / 2 - 64
        )

    def notes(self) -> tuple[str, ...]:
        """A sentence for each attribute with values that were clamped."""
        return tuple(
            f"{count} values of {name} beyond [{_HELD[name][0]:.4g}, {_HELD[name][1]:.4g}] were "
            "clamped."
            for name, count in self.num_clamped.items()
        )


def choose_fractional_bits(largest: float, smallest_size: float) -> int:
    """Bits behind the binary point of the positions.

    Eight steps fit in `smallest_size`, with the step of the reference writer as the coarsest
    choice and 2^-20 as the finest; only coordinates beyond the 24 bits make it coarser.

    Args:
        largest: Largest absolute coordinate.
        smallest_size: Standard deviation of the smallest Gaussians that matter.

    Raises:
        ValueError: `largest` does not fit even in whole numbers (2^23 - 1).
    """
    wanted = DEFAULT_FRACTIONAL_BITS
    if smallest_size > 0:
        wanted = math.ceil(math.log2(_STEPS_PER_SIZE) - math.log2(smallest_size))
    bits = min(max(wanted, DEFAULT_FRACTIONAL_BITS), MAX_FRACTIONAL_BITS)
    while bits >= 0 and round(largest * 2.0**bits) > MAX_POSITION:
        bits -= 1
    if bits < 0:
        raise ValueError(
            f"`means` reach {largest:g}, SPZ holds at most {MAX_POSITION}; "
            "move or scale the scene first, or crop what lies far out."
        )
    return bits


def encode(
    gaussians: Gaussians,
    *,
    version: int,
    fractional_bits: int,
    antialiased: bool,
    sh1_bits: int = 5,
    sh_rest_bits: int = 4,
) -> PackedSpz:
    """The integers of `gaussians`, each the nearest to the value that decodes from it.

    Log scales beyond [-10, 5.94], f_dc beyond +-3.33 and coefficients beyond [-1, 0.99] are set to
    the nearest that SPZ holds. Lengthless quaternions become the identity.

    Args:
        gaussians: Finite means, on the CPU.
        version: 2 to 4.
        fractional_bits: As `choose_fractional_bits` gives.
        antialiased: Kept in the result.
        sh1_bits: 1 to 8 bits for coefficients of degree 1.
        sh_rest_bits: 1 to 8 bits for those above.
    """
    means = gaussians.means.numpy().astype(np.float64)
    encode_quats = _encode_first_three if version < 3 else _encode_smallest_three
    return PackedSpz(
        version,
        gaussians.sh_degree,
        fractional_bits,
        antialiased,
        np.rint(means * 2.0**fractional_bits).astype(np.int32),
        _to_bytes(gaussians.logit_opacities.double().sigmoid_().mul_(255)),
        _to_bytes(gaussians.sh0[:, 0].mul(_COLOR_SCALE * 255).add_(127.5)),
        _to_bytes(gaussians.log_scales.add(10).mul_(16)),
        encode_quats(_normalized(gaussians.quats)),
        _encode_sh(gaussians.shN, sh1_bits, sh_rest_bits),
    )


def _to_bytes(values: Tensor) -> NDArray[np.uint8]:
    return values.round_().clamp_(0, 255).to(torch.uint8).numpy()


def _encode_sh(shN: Tensor, sh1_bits: int, sh_rest_bits: int) -> NDArray[np.uint8]:
    """[N, K - 1, 3] bytes on a grid of 2^(8 - bits) around 128."""
    coefficients = shN.shape[1]
    if coefficients == 0:
        return np.empty((len(shN), 0, 3), np.uint8)
    bits = torch.full((coefficients, 1), float(sh_rest_bits))
    bits[:3] = sh1_bits
    step = 2 ** (8 - bits)
    return _to_bytes((shN * (128 / step)).round_().mul_(step).add_(128))


def _normalized(quats: Tensor) -> Tensor:
    """Unit (x, y, z, w); the identity where the length is zero."""
    xyzw = quats.roll(-1, dims=1)
    largest = xyzw.abs().amax(1, keepdim=True)  # first, so that squares neither over- nor underflow
    xyzw = xyzw / torch.where(largest > 0, largest, 1)
    xyzw[:, 3] += (largest[:, 0] == 0).to(xyzw)
    return xyzw / xyzw.norm(dim=1, keepdim=True)


def _encode_first_three(xyzw: Tensor) -> NDArray[np.uint8]:
    xyz = torch.where(xyzw[:, 3:] < 0, -xyzw[:, :3], xyzw[:, :3])
    return _to_bytes(xyz.mul(127.5).add_(127.5))


def _encode_smallest_three(xyzw: Tensor) -> NDArray[np.uint32]:
    largest = xyzw.abs().argmax(1)
    others = torch.tensor([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])[largest]
    small = xyzw.gather(1, others)
    small = torch.where(xyzw.gather(1, largest[:, None]) < 0, -small, small)
    magnitude = small.abs().mul_(511 / _SQRT_HALF).round_().clamp_(max=511).long()
    fields = magnitude | ((small < 0) & (magnitude > 0)).long() << 9
    packed = largest << 30 | fields[:, 0] << 20 | fields[:, 1] << 10 | fields[:, 2]
    return packed.numpy().astype(np.uint32)
