"""How long an ideal entropy coder's codewords are, given how often each symbol is used."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def code_lengths(counts: Float[Tensor, "k"]) -> Float[Tensor, "k"]:
    """Bits -log2 p of each symbol, from how often it was seen.

    One further observation is spread evenly over the alphabet (Perks' prior), so that a symbol
    never seen has a finite length and an unused table costs log2 K bits for every symbol.
    """
    shares = (counts + 1 / len(counts)) / (counts.sum() + 1)
    return -torch.log2(shares)


def ideal_bits(
    indices: Int[Tensor, "n stages"], counts: Float[Tensor, "total"], num_codes: tuple[int, ...]
) -> Float[Tensor, ""]:
    """Bits of all `indices`, each column coded with its own table.

    Args:
        indices: Column s lies in [0, num_codes[s]).
        counts: How often each symbol was seen, the tables one after the other.
        num_codes: Size of each table.
    """
    bits = counts.new_zeros(())
    for column, table in zip(indices.T, counts.split(num_codes), strict=True):
        bits = bits + code_lengths(table)[column].sum()
    return bits
