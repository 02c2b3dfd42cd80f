"""Many texts in one pass: texts with the same beginning share it, as the branches of a tree share a trunk.

The four options of a question follow the same prompt, the questions about an image follow the same image, and options
often begin alike. A flattened tree, with a mask that lets each token see its own branch back to the root, goes through
the model once. Each branch sees exactly what it would have seen alone (tree attention, as in arXiv 2305.09781).
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

import torch

LARGEST = 4  # times the first prompt: a tree's mask grows with the square of its size


@dataclass
class Tree:
    """Tokens, ordered so that parents precede children. ``parents[0]`` is -1; ``depths`` count from 0."""

    key: Hashable = None  # of the image with which all branches begin
    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    scored: set[int] = field(default_factory=set)  # nodes of answers
    first: int = 0  # size of the first prompt
    _children: dict[tuple[int, int], int] = field(default_factory=dict)

    def grow(self, tokens: Iterable[int], at: int = -1) -> list[int]:
        """The nodes of ``tokens`` after node ``at``; existing nodes are reused."""
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
        """How many of ``tokens`` already exist after node ``at``."""
        for count, token in enumerate(tokens):
            if (found := self._children.get((at, token))) is None:
                return count
            at = found
        return len(tokens)

    def welcomes(self, prompt: Sequence[int], answers: Sequence[Sequence[int]], hidden_size: int) -> bool:
        """Whether reading a prompt and its answers in this tree costs less than alone.

        In the tree the common beginning is free, but attention computes each of its other tokens against all other
        branches in vain. Per layer, a pair of tokens in attention costs about 1 / hidden size of what a token costs
        elsewhere: a sixth of that in operations, the rest in masks and softmax (measured with the demo's models).
        """
        shared, alone = self.common(prompt), Tree()
        end = alone.grow(prompt)[-1]
        for answer in answers:
            alone.grow(answer, end)
        own, size = len(alone.tokens), len(self.tokens)
        pairs = 2 * (own - shared) * (size - shared) - shared**2  # more than alone
        return pairs <= hidden_size * shared and size + own - shared <= LARGEST * self.first

    @property
    def trunk(self) -> int:
        """How many tokens, from the first on, all that follows sees: up to where the tree first forks."""
        forks = (parent for node, parent in enumerate(self.parents) if parent != node - 1)
        return min(forks, default=len(self.parents) - 1) + 1


def sees(trees: Sequence[Tree], start: int, size: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """trees x (size - start) x size, true where a token (row, from ``start`` on) sees another.

    ``start``: at most the shortest `Tree.trunk`, which all see, padding too; else that sees only itself. The mask is
    made on ``device``: from each token to its parent, as often as the deepest branch is long.
    """
    itself = torch.arange(size - start)
    parents = itself.repeat(len(trees), 1)
    for row, tree in enumerate(trees):
        rest = torch.tensor(tree.parents[start:], dtype=torch.long) - start
        parents[row, : len(rest)] = torch.where(rest < 0, itself[: len(rest)], rest)
    parents, at = parents.to(device), itself.to(device).repeat(len(trees), 1)
    seen = torch.zeros(len(trees), size - start, size, dtype=torch.bool, device=device)
    seen[..., :start] = True
    for _ in range(max(max(tree.depths, default=0) for tree in trees) - start + 1):
        seen.scatter_(2, (at + start).unsqueeze(2), True)
        at = parents.gather(1, at)
    return seen


@dataclass(frozen=True)
class Branch:
    """The place of an answer: its nodes in a tree, after the prompt's last node, ``end``. A token's probability is read
    at its parent.
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
    """Trees of prompts with the same key, where sharing saves work, and for each prompt the branches of its answers.

    A prompt with key None gets its own tree. ``hidden_size``: the model's, see `Tree.welcomes`. Prompts are taken in
    the order of key and tokens, so that those with a long common beginning are neighbours.
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
