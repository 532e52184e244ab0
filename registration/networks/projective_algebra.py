"""The projective geometric algebra G(3, 0, 1): points, planes and motions of space as 16 numbers.

Basis, in order: 1; e0 e1 e2 e3; e01 e02 e03 e12 e13 e23; e012 e013 e023 e123; e0123, with
e0 e0 = 0 and e_i e_i = 1. The point (x, y, z) has e123 = 1, e023 = -x, e013 = y, e012 = -z.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

BLADES: tuple[tuple[int, ...], ...] = tuple(
    blade for grade in range(5) for blade in combinations(range(4), grade)
)
"""Generators of each basis element."""
GRADES = tuple(len(blade) for blade in BLADES)
"""Number of generators of each basis element."""
WITHOUT_E0 = tuple(n for n, blade in enumerate(BLADES) if 0 not in blade)
"""The 8 components whose sums of products are invariant."""
_INDEX = {blade: n for n, blade in enumerate(BLADES)}


def _product(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Sign (0 where e0 meets e0) and blade of a product of basis blades."""
    sign, word = 1, [*a, *b]
    moved = True
    while moved:
        moved = False
        for n in range(len(word) - 1):
            if word[n] > word[n + 1]:
                word[n], word[n + 1] = word[n + 1], word[n]
                sign, moved = -sign, True
    kept: list[int] = []
    for letter in word:
        if kept and kept[-1] == letter:
            kept.pop()
            sign *= 0 if letter == 0 else 1
        else:
            kept.append(letter)
    return sign, tuple(kept)


@cache
def _tables() -> tuple[Tensor, Tensor, Tensor]:
    """Geometric product [16, 16, 16] (out, left, right), join likewise, and duals [16, 16]."""
    geometric, wedge = torch.zeros(16, 16, 16), torch.zeros(16, 16, 16)
    for i, a in enumerate(BLADES):
        for j, b in enumerate(BLADES):
            sign, blade = _product(a, b)
            geometric[_INDEX[blade], i, j] = sign
            if not set(a) & set(b):
                wedge[_INDEX[blade], i, j] = sign
    dual = torch.zeros(16, 16)
    for i, a in enumerate(BLADES):
        rest = tuple(sorted(set(range(4)) - set(a)))
        sign, _ = _product(a, rest)  # a ^ dual(a) = e0123
        dual[_INDEX[rest], i] = sign
    undual = torch.linalg.inv(dual)
    join = torch.einsum("xo,oab,ai,bj->xij", undual, wedge, dual, dual)
    return geometric, join, dual


def geometric_product(
    a: Float[Tensor, "*batch 16"], b: Float[Tensor, "*batch 16"]
) -> Float[Tensor, "*batch 16"]:
    """a b, bilinear and equivariant: (g a g^-1)(g b g^-1) = g a b g^-1."""
    return torch.einsum("oij,...i,...j->...o", _tables()[0].to(a), a, b)


def join(
    a: Float[Tensor, "*batch 16"], b: Float[Tensor, "*batch 16"]
) -> Float[Tensor, "*batch 16"]:
    """The regressive product: two points give their line, a line and a point their plane."""
    return torch.einsum("oij,...i,...j->...o", _tables()[1].to(a), a, b)


def reverse(a: Float[Tensor, "*batch 16"]) -> Float[Tensor, "*batch 16"]:
    """The product with all factors in reverse order: the inverse of a motor."""
    signs = a.new_tensor([(-1.0) ** (g * (g - 1) // 2) for g in GRADES])
    return a * signs


@cache
def linear_basis() -> Float[Tensor, "9 16 16"]:
    """The equivariant linear maps: five projections to grades, four multiplications by e0."""
    maps = torch.zeros(9, 16, 16)
    for n, grade in enumerate(GRADES):
        maps[grade, n, n] = 1.0
    e0 = torch.zeros(16)
    e0[1] = 1.0
    times_e0 = torch.einsum("oij,i->oj", _tables()[0], e0)
    for grade in range(4):
        maps[5 + grade] = times_e0 @ maps[grade]
    return maps


def point(positions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 16"]:
    """Points as trivectors."""
    x, y, z = positions.unbind(-1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return torch.stack([zero] * 11 + [-z, y, -x, one, zero], dim=-1)


def position(multivector: Float[Tensor, "*batch 16"]) -> Float[Tensor, "*batch 3"]:
    """The positions of trivectors that are points; the inverse of `point`."""
    m = multivector
    return torch.stack([-m[..., 13], m[..., 12], -m[..., 11]], dim=-1) / m[..., 14:15]


def motor(
    rotation: Float[Tensor, "*batch 3 3"], translation: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch 16"]:
    """The versor m with point(R x + t) = m point(x) reverse(m)."""
    from captures.rotations import rotmats_to_quats

    w, x, y, z = rotmats_to_quats(rotation).unbind(-1)
    zero = torch.zeros_like(w)
    rotor = torch.stack([w] + [zero] * 7 + [-z, y, -x] + [zero] * 5, dim=-1)
    tx, ty, tz = (-0.5 * translation).unbind(-1)
    one = torch.ones_like(tx)
    translator = torch.stack([one] + [zero] * 4 + [tx, ty, tz] + [zero] * 8, dim=-1)
    return geometric_product(translator, rotor)


def sandwich(
    versor: Float[Tensor, "*batch 16"], a: Float[Tensor, "*batch 16"]
) -> Float[Tensor, "*batch 16"]:
    """a moved by a motor."""
    return geometric_product(geometric_product(versor, a), reverse(versor))
