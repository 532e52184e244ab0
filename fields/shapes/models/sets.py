"""Latents that are sets of vectors: flat, and in three levels."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .batch import ShapeBatch
from .blocks import (
    POSITION_CHANNELS,
    Attention,
    Block,
    FeedForward,
    Head,
    farthest_points,
    fourier,
    take_rows,
)
from .config import ModelConfig
from .family import Family, Query
from .layouts import layout_of


class VectorSet(Family):
    """One set of M vectors.

    Surface points chosen by farthest-point sampling ask all points (cross-attention); the decoder's
    blocks attend among the M vectors; a query point asks them.

    Reference: Zhang et al., "3DShape2VecSet", SIGGRAPH 2023, sections 4.1 to 4.3, with normals.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layout = layout_of(config)
        width, heads = config.set_width, config.heads
        self.widths = (width,)
        self.embed = PointEmbedding(width)
        self.gather, self.feed = Attention(width, heads, context_width=width), FeedForward(width)
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(config.set_blocks)])
        self.ask = QueryAttention(width, heads)
        self.head = Head(width, config.width)

    def encode(self, batch: ShapeBatch) -> list[Tensor]:
        """See `Family`."""
        [part] = self.layout.parts
        context = self.embed(batch.points, batch.normals)
        rows = farthest_points(batch.points, part.tokens)
        return [self.feed(self.gather(take_rows(context, rows), context))]

    def decode(self, parts: list[Tensor]) -> Query:
        """See `Family`."""
        tokens = self.blocks(parts[0])
        context = self.ask.prepare(tokens)
        return lambda points: self.head(self.ask(points, context))


class HierarchicalSet(Family):
    """Three sets, each a summary of the finer one before it.

    Encoding: level k+1 keeps the first points of level k's farthest-point order, which is one
    itself, and asks level k's features. Decoding runs coarse to fine: each level attends among its
    own vectors, then the next finer level's latents ask it and take the answer as a residual. A
    query point asks every level, and the answers are joined.

    Reference: Zhang and Wonka, "LaGeM", ICLR 2025 (arXiv 2410.01295), section 3.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layout = layout_of(config)
        width, heads = config.set_width, config.heads
        levels = len(self.layout.parts)
        self.widths = (width,) * levels
        self.embed = PointEmbedding(width)
        self.gather = nn.ModuleList(
            Attention(width, heads, context_width=width) for _ in range(levels)
        )
        self.feed = nn.ModuleList(FeedForward(width) for _ in range(levels))
        depths = [max(1, (config.set_blocks + i) // levels) for i in range(levels)]
        self.blocks = nn.ModuleList(
            nn.Sequential(*[Block(width, heads) for _ in range(depth)]) for depth in depths
        )
        self.raise_level = nn.ModuleList(
            Attention(width, heads, context_width=width) for _ in range(levels - 1)
        )
        self.ask = nn.ModuleList(QueryAttention(width, heads) for _ in range(levels))
        self.join = nn.Linear(levels * width, width)
        self.head = Head(width, config.width)

    def encode(self, batch: ShapeBatch) -> list[Tensor]:
        """See `Family`."""
        context = self.embed(batch.points, batch.normals)
        rows = farthest_points(batch.points, self.layout.parts[0].tokens)
        queries, features = take_rows(context, rows), []
        for part, gather, feed in zip(self.layout.parts, self.gather, self.feed, strict=True):
            queries = queries[:, : part.tokens]
            context = feed(gather(queries, context))
            features.append(context)
        return features

    def decode(self, parts: list[Tensor]) -> Query:
        """See `Family`."""
        contexts: list[tuple[Tensor, Tensor]] = []
        below: Tensor | None = None
        for level in reversed(range(len(parts))):
            tokens = parts[level]
            if below is not None:
                tokens = self.raise_level[level](tokens, below)
            below = self.blocks[level](tokens)
            contexts.insert(0, self.ask[level].prepare(below))  # pyright: ignore[reportCallIssue]

        def query(points: Tensor) -> Tensor:
            answers = [ask(points, c) for ask, c in zip(self.ask, contexts, strict=True)]
            return self.head(self.join(torch.cat(answers, dim=-1)))

        return query


class PointEmbedding(nn.Module):
    """Positions as waves, and normals, to vectors."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(POSITION_CHANNELS + 3, width)

    def forward(
        self, points: Float[Tensor, "B N 3"], normals: Float[Tensor, "B N 3"]
    ) -> Float[Tensor, "B N d"]:
        """One vector per point."""
        return self.linear(torch.cat([fourier(points), normals], dim=-1))


class QueryAttention(nn.Module):
    """Query points ask a set; the keys and values of the set are computed once."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.embed = nn.Linear(POSITION_CHANNELS, width)
        self.to_context = nn.Linear(width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, width)

    def prepare(self, tokens: Float[Tensor, "B M d"]) -> tuple[Tensor, Tensor]:
        """Keys and values, [B, heads, M, d / heads]."""
        key, value = self.to_context(self.norm(tokens)).chunk(2, dim=-1)
        return self._split(key), self._split(value)

    def forward(
        self, points: Float[Tensor, "B Q 3"], context: tuple[Tensor, Tensor]
    ) -> Float[Tensor, "B Q d"]:
        """What each point is told."""
        embedded = self.embed(fourier(points))
        mixed = nn.functional.scaled_dot_product_attention(self._split(embedded), *context)
        return embedded + self.out(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
