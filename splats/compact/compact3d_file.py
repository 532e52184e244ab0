"""Gaussians with codebooks as an asset of kind "splats", which any reader of those decodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from captures import Similarity
from vq.asset import AssetWriter, Node, constant, gather, reshape, scale
from vq.entropy.rans import RansCodec
from vq.entropy.runs import RunLengthCodec

from ..formats.contract import HOUSE_FRAME
from ..formats.fwa_quantization import choose_position_step
from ..gaussians import Gaussians
from .codebooks import Codebook
from .rounding import LOGIT_ORIGIN, LOGIT_STEP, logit_steps

_SORTED = "log_scales"  # its column is stored as run lengths
_CODE_LEVELS = 2047  # codes are rounded to this many steps on either side of zero
_POSITION_SHARE = 1 / 8  # of the size of small Gaussians, as in other assets


def write(
    gaussians: Gaussians,
    codebooks: Mapping[str, Codebook],
    path: Path,
    *,
    T_source_capture: Similarity,
    antialiased: bool,
) -> Path:
    """Replace `path` by the Gaussians that the codes stand for, in the frame of the source.

    Rows are sorted by the code of their scale, so that these cost hardly more than how often each
    is used; the other columns are entropy coded.
    """
    used = {name: book for name, book in codebooks.items() if book.indices is not None}
    sorting = used[_SORTED].indices
    assert sorting is not None
    order = torch.argsort(sorting.cpu(), stable=True)
    placed = _on_cpu(gaussians).transformed(T_source_capture)[order]
    writer = AssetWriter(
        "splats",
        frame={"axes": HOUSE_FRAME},
        properties={
            "num_primitives": len(placed),
            "sh_degree": placed.sh_degree,
            "antialiased": antialiased,
            "model": "3dgs",
        },
    )
    writer.array("means", _positions(writer, placed))
    opacities = writer.encode("opacities", logit_steps(placed.logit_opacities.numpy()), RansCodec())
    writer.array("logit_opacities", scale(opacities, step=(LOGIT_STEP,), origin=(LOGIT_ORIGIN,)))
    for name in ("log_scales", "quats", "sh0", "shN"):
        shape = tuple(getattr(placed, name).shape)
        if name not in used:
            writer.array(name, constant(0.0, "float32", shape))
            continue
        book = used[name]
        assert book.codes is not None and book.indices is not None
        codes = _moved(name, book.codes.detach().cpu(), T_source_capture)
        indices = book.indices.cpu()[order].numpy().astype(np.uint16)
        writer.array(name, _coded(writer, name, codes.numpy(), indices, shape))
    return writer.write(path, overwrite=True)


def _positions(writer: AssetWriter, placed: Gaussians) -> Node:
    """On a grid of a fraction of the size of small Gaussians."""
    step = choose_position_step(placed, share=_POSITION_SHARE)
    means = placed.means.double().numpy()
    origin = means.min(axis=0) if len(means) else np.zeros(3)
    integers = np.rint((means - origin) / step).astype(np.int32)
    coded = writer.encode("means", integers, RansCodec())
    return scale(coded, step=(step,), origin=tuple(map(float, origin)))


def _coded(
    writer: AssetWriter,
    name: str,
    codes: NDArray[np.float32],
    indices: NDArray[np.uint16],
    shape: tuple[int, ...],
) -> Node:
    step = max(float(np.abs(codes).max(initial=0)), 1e-6) / _CODE_LEVELS
    integers = np.rint(codes / step).astype(np.int16)
    book = scale(writer.encode(f"{name}.codes", integers, RansCodec()), step=(step,))
    codec = RunLengthCodec() if name == _SORTED else RansCodec()
    return reshape(gather(book, writer.encode(f"{name}.indices", indices, codec)), shape)


def _moved(
    name: str, codes: Float[Tensor, "K dim"], similarity: Similarity
) -> Float[Tensor, "K dim"]:
    """Codes for the frame of the source: each moves as the attribute of a Gaussian would."""
    count = len(codes)
    blank = Gaussians(
        means=torch.zeros(count, 3),
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        log_scales=torch.zeros(count, 3),
        logit_opacities=torch.zeros(count),
        sh0=torch.zeros(count, 1, 3),
        shN=torch.zeros(count, 0, 3),
    )
    own = codes if name in ("log_scales", "quats") else codes.reshape(count, -1, 3)
    moved = replace(blank, **{name: own}).transformed(similarity)
    return getattr(moved, name).reshape(codes.shape)


def _on_cpu(gaussians: Gaussians) -> Gaussians:
    return Gaussians(
        gaussians.means.cpu(),
        gaussians.quats.cpu(),
        gaussians.log_scales.cpu(),
        gaussians.logit_opacities.cpu(),
        gaussians.sh0.cpu(),
        gaussians.shN.cpu(),
    )
