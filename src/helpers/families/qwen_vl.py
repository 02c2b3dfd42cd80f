"""Qwen-VL (arXiv 2308.12966): one cross-attention gathers the image into a fixed number of vectors."""

from typing import Any

import torch
from torch import Tensor, nn

from helpers.families.connectors import Connector
from helpers.families.language_model import WIDTH
from helpers.families.tower import WIDTH as SEEN_WIDTH

GRID, HEADS = 4, 4  # queries and patches, per side


def places_in_grid(side: int, width: int) -> Tensor:
    """Side² x width: sines and cosines of each place's row in one half, of its column in the other."""
    rates = 10_000 ** -(torch.arange(width // 4) / (width // 4))
    angles = torch.arange(side)[:, None] * rates
    each = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows, columns = each.repeat_interleave(side, dim=0), each.repeat(side, 1)
    return torch.cat([rows, columns], dim=1)


class Resampler(nn.Module):
    """Learned queries look at the patches once; both know where they are in the image."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Parameter(0.02 * torch.randn(GRID**2, WIDTH))
        self.map = nn.Linear(SEEN_WIDTH, WIDTH, bias=False)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.norm_of_queries, self.norm_of_seen, self.norm = (nn.LayerNorm(WIDTH) for _ in range(3))
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.places: Tensor
        self.register_buffer("places", places_in_grid(GRID, WIDTH), persistent=False)

    def forward(self, seen: Tensor) -> Tensor:
        """Images x patches x width to images x queries x width."""
        seen = self.norm_of_seen(self.map(seen))
        queries = (self.norm_of_queries(self.queries) + self.places).expand(len(seen), -1, -1)
        found: Any = self.attention(queries, seen + self.places, seen, need_weights=False)[0]
        return self.out(self.norm(found))


class QwenVL(Connector):
    """`Resampler` before the language model."""

    key, title, source = "qwen_vl", "Qwen-VL", "2308.12966"
    idea = (
        "Learned queries gather what the tower sees in one cross-attention. Row and column of each patch are added "
        "to what is compared, so places survive the gathering. The language model gets one vector per query."
    )
    faithful = (
        "One cross-attention with learned queries and two-dimensional positions in queries and keys, as in the "
        "published code. There, tower and language model are trained too in later stages; boxes are left out."
    )
    LOOKS = GRID**2

    def connector(self) -> nn.Module:
        return Resampler()
