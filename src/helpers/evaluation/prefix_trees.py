"""Many texts in one pass: texts with the same beginning share it, as branches of a tree share a trunk.

The four options of a question follow the same prompt, the questions of an image follow the same image, and options
often begin alike. Laid flat, with a mask that lets each token see its own branch down to the root, a tree goes through
the model once, and each branch meets exactly what it would have met alone (tree attention, as in arXiv 2305.09781).
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

LARGEST = 4  # times its first prompt: a tree's mask is the square of its size


@dataclass
class Tree:
    """Tokens in an order in which a parent precedes its children. ``parents[0]`` is -1; ``depths`` count from 0."""

    key: Hashable = None  # of the image, which all branches begin with
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

    def common(self, tokens: Sequence[int], at: int = -1) -> int:
        """How many of ``tokens``, following node ``at``, are there already."""
        for count, token in enumerate(tokens):
            if (found := self._children.get((at, token))) is None:
                return count
            at = found
        return len(tokens)

    def welcomes(self, prompt: Sequence[int], answers: Sequence[Sequence[int]], hidden_size: int) -> bool:
        """Whether to read a prompt with its answers here costs less than alone.

        Here its common beginning is free, but each of its other tokens meets, in attention, all other branches in vain.
        A pair of tokens in attention costs a layer about 1 / hidden size of a token in everything else: a sixth of
        that by operations, the rest for masks and softmax (measured with the demo's models).
        """
        shared, alone = self.common(prompt), Tree()
        end = alone.grow(prompt)[-1]
        for answer in answers:
            alone.grow(answer, end)
        own, size = len(alone.tokens), len(self.tokens)
        pairs = 2 * (own - shared) * (size - shared) - shared**2  # more than alone
        return pairs <= hidden_size * shared and size + own - shared <= LARGEST * self.first

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
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[Sequence[int]]],
    keys: Sequence[Hashable],
    hidden_size: int,
) -> tuple[list[Tree], list[list[Branch]]]:
    """Trees for prompts with the same key, where that saves work, and for each prompt the branches of its answers.

    A prompt whose key is None stands alone. ``hidden_size``: of the model, see `Tree.welcomes`.

    Prompts are taken in order of key and tokens, so that those with a long common beginning meet.
    """
    trees: list[Tree] = []
    branches: list[list[Branch]] = [[] for _ in prompts]
    for i in sorted(range(len(prompts)), key=lambda i: (str(keys[i]), list(prompts[i]))):
        last = trees[-1] if trees else None
        known = last is not None and keys[i] is not None and last.key == keys[i]
        if last is None or not known or not last.welcomes(prompts[i], answers[i], hidden_size):
            trees.append(last := Tree(keys[i], first=len(prompts[i])))
        end = last.grow(prompts[i])[-1]
        branches[i] = [Branch(len(trees) - 1, end, last.grow(answer, end)) for answer in answers[i]]
        last.scored.update(node for branch in branches[i] for node in branch.nodes)
    return trees, branches
