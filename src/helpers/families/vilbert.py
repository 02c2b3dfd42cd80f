"""ViLBERT (arXiv 1908.02265): a stream of words and a stream of regions, which look at each other in between."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, kl_div

from helpers.families.codes import FeatureCodes
from helpers.families.interface import Course
from helpers.families.masked import CATEGORIES, Masked, MaskedText, corners
from helpers.families.tower import WIDTH as SEEN
from helpers.families.tower import image_tower

_WIDTH, _LENGTH, _BLOCKS = 96, 96, 2  # of both streams; words at most; pairs of co-attention and self-attention


class Layer(nn.Module):
    """A layer of BERT. Its queries are its own stream's; keys and values are of the stream that it attends to."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(_WIDTH, 4, batch_first=True)
        self.inner, self.outer = nn.Linear(_WIDTH, 2 * _WIDTH), nn.Linear(2 * _WIDTH, _WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(_WIDTH) for _ in range(2))

    def forward(self, own: Tensor, other: Tensor, absent: Tensor | None = None) -> Tensor:
        """Texts x places x width; ``absent``: which places of ``other`` are padding."""
        found, _ = self.attention(own, other, other, key_padding_mask=absent, need_weights=False)
        own = self.norms[0](own + found)
        read: Tensor = self.norms[1](own + self.outer(gelu(self.inner(own))))
        return read


class TwoStreams(nn.Module):
    """Words are read by one layer more before the streams meet; then each block is co-attention and self-attention."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.tower = image_tower()
        self.word, self.place = nn.Embedding(vocabulary, _WIDTH), nn.Embedding(_LENGTH, _WIDTH)
        self.region, self.box = nn.Linear(SEEN, _WIDTH), nn.Linear(5, _WIDTH)
        self.image = nn.Parameter(0.02 * torch.randn(_WIDTH))  # marks the token of the whole image
        self.nothing = nn.Parameter(0.02 * torch.randn(SEEN))  # the only region if there is no image
        self.norms = nn.ModuleList(nn.LayerNorm(_WIDTH) for _ in range(2))
        self.first = Layer()
        self.words_to_regions, self.regions_to_words, self.among_words, self.among_regions = (
            nn.ModuleList(Layer() for _ in range(_BLOCKS)) for _ in range(4)
        )
        self.spoken = nn.Sequential(
            nn.Linear(_WIDTH, _WIDTH), nn.GELU(), nn.LayerNorm(_WIDTH), nn.Linear(_WIDTH, vocabulary)
        )
        self.spoken[-1].weight = self.word.weight
        self.category, self.match = nn.Linear(_WIDTH, CATEGORIES), nn.Linear(_WIDTH, 2)
        for embedding in (self.word, self.place):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, ids: Tensor, there: Tensor, regions: Tensor | None) -> tuple[Tensor, Tensor]:
        """Texts x length x width of words; texts x (1 + regions) x width, the first being the whole image."""
        words = self.norms[0](self.word(ids) + self.place.weight[: ids.shape[1]])
        if regions is None:
            things, where = self.nothing.expand(len(ids), 1, -1), torch.zeros(1, 5)
        else:
            things, where = regions, _boxes()
        things = self.region(torch.cat([things.mean(dim=1, keepdim=True), things], dim=1))
        things = things + self.box(torch.cat([torch.tensor([[0.0, 0, 1, 1, 1]]), where]))
        things = self.norms[1](torch.cat([things[:, :1] + self.image, things[:, 1:]], dim=1))
        words = self.first(words, words, ~there)
        for to_regions, to_words, among_words, among_regions in zip(
            self.words_to_regions, self.regions_to_words, self.among_words, self.among_regions, strict=True
        ):
            words, things = to_regions(words, things), to_words(things, words, ~there)
            words, things = among_words(words, words, ~there), among_regions(things, things)
        return words, things


class Vilbert(Masked):
    """Two streams written out, as no library has them."""

    key, title, source = "vilbert", "ViLBERT", "1908.02265"
    idea = (
        "Words and regions are read by two transformers. Between their layers, each stream attends to the other, with "
        "weights of its own. It fills in masked words, says what masked regions show, and whether text and image match."
    )
    faithful = (
        "Co-attention in both directions, later than the first layer of words, five numbers for each box, the token of "
        "the whole image, three losses: as published. CLIP's frozen tower is the detector, its patches the boxes; "
        "the streams are equally wide; for a text alone, the stream of regions holds one learned region."
    )
    lesson, reading, looking = Course(4000, 32), Course(300, 48, 5e-4), Course(100, 48, 5e-4)

    def build(self) -> nn.Module:
        return TwoStreams(len(self.tokenizer))

    def encode(self, ids: Tensor, there: Tensor, regions: Tensor | None) -> tuple[Tensor, Tensor | None]:
        words, things = self.model(ids, there, regions)
        return words, things

    def words(self, hidden: Tensor) -> Tensor:
        found: Tensor = self.model.spoken(hidden)
        return found

    def describing_loss(self, shown: Tensor, covered: Tensor, rows: Sequence[MaskedText]) -> Tensor:
        """Half the texts belong to another image; both halves are masked alike, and only right pairs are filled in."""
        wrong = torch.arange(len(rows)) < len(rows) // 2
        paired = [*rows[1 : len(rows) // 2], rows[0], *rows[len(rows) // 2 :]]
        ids, there, labels = self.batch(paired)
        words, things = self.encode(ids, there, self.regions(shown, covered))
        assert things is not None
        matched = cross_entropy(self.model.match(things[:, 0] * words[:, 0]), wrong.long())
        seen = covered & ~wrong[:, None]
        said = self.model.category(things[:, 1:][seen]).log_softmax(dim=-1)
        with torch.no_grad():
            true = _shares(self.detector, shown)[seen]
        return matched + self.words_loss(words[~wrong], labels[~wrong]) + kl_div(said, true, reduction="batchmean")


def _shares(detector: FeatureCodes, shown: Tensor) -> Tensor:
    """Images x regions x `CATEGORIES`: how sure the detector is of each, by how near it is."""
    far = torch.cdist(detector.features(shown), detector.codebook[None])
    return (-far.square() / far.square().mean() * 10).softmax(dim=-1)


def _boxes() -> Tensor:
    """Regions x 5: the corners of each and its area, as shares of the image."""
    found = corners()
    return torch.cat([found, torch.full((len(found), 1), 1 / len(found))], dim=1)
