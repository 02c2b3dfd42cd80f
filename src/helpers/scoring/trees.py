"""Many texts in one pass: texts with the same beginning share it, as branches of a tree share a trunk.

The four options of a question follow the same prompt, the questions of a picture follow the same picture, and options
often begin alike. Laid flat, with a mask that lets each token see its own branch down to the root, a tree goes through
the model once, and each branch meets exactly what it would have met alone (tree attention, as in arXiv 2305.09781).
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

# Attention costs the square of a tree's size: one may grow by as many tokens as its first prompt has, picture included,
# and by this many where that is short.
GROWTH = 64


@dataclass
class Tree:
    """Tokens in an order in which a parent precedes its children. ``parents[0]`` is -1; ``depths`` count from 0."""

    key: Hashable = None  # of the picture, which all branches begin with
    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    scored: set[int] = field(default_factory=set)  # nodes of answers
    first: int = 0  # size of the first prompt
    _children: dict[tuple[int, int], int] = field(default_factory=dict)

    def grow(self, tokens: Iterable[int], at: int = -1) -> list[int]:
        """The nodes of ``tokens``, following node ``at``; nodes that are there already are used again."""
        path = []
        for token in tokens:
            if (found := self._children.get((at, token))) is None:
                found = self._children[at, token] = len(self.tokens)
                self.tokens.append(token)
                self.parents.append(at)
                self.depths.append(0 if at < 0 else self.depths[at] + 1)
            path.append(at := found)
        return path

    @property
    def is_full(self) -> bool:
        return len(self.tokens) - self.first > max(GROWTH, self.first)

    def sees(self, size: int) -> np.ndarray:
        """size x size, true where a token (row) sees another; padding sees itself alone."""
        seen = np.eye(size, dtype=bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] |= seen[parent]
        return seen


@dataclass(frozen=True)
class Branch:
    """Where an answer lies: its tokens' nodes in a tree, after the prompt's last one, ``end``. A token's probability is
    read at its parent.
    """

    tree: int
    end: int
    nodes: list[int]


def plant(
    prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[Sequence[int]]], keys: Sequence[Hashable]
) -> tuple[list[Tree], list[list[Branch]]]:
    """Trees for prompts with the same key, one each for those whose key is None; of each prompt its answers' branches.

    Prompts are taken in order of key and tokens, so that those with a long common beginning meet.
    """
    trees: list[Tree] = []
    branches: list[list[Branch]] = [[] for _ in prompts]
    for i in sorted(range(len(prompts)), key=lambda i: (str(keys[i]), list(prompts[i]))):
        last = trees[-1] if trees else None
        if (
            last is None
            or keys[i] is None
            or last.key != keys[i]
            or len(last.tokens) - last.first > max(GROWTH, last.first)
        ):
            trees.append(last := Tree(keys[i], first=len(prompts[i])))
        end = last.grow(prompts[i])[-1]
        branches[i] = [Branch(len(trees) - 1, end, last.grow(answer, end)) for answer in answers[i]]
        last.scored.update(node for branch in branches[i] for node in branch.nodes)
    return trees, branches
