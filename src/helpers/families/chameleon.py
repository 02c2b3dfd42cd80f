"""Chameleon (arXiv 2405.09818): images are words of the same language, in two forms that differ in their codes."""

from typing import ClassVar

from helpers.families.codes import Codes, FeatureCodes, PixelCodes
from helpers.families.fusion import EarlyFusion
from helpers.families.interface import Course

_IDEA = (
    "An image becomes a row of codes, and codes are words of one vocabulary. One decoder, with normalised queries and "
    "keys, learns rows of words and codes in any order. "
)


class Chameleon(EarlyFusion):
    """`ChameleonModel` over the features of CLIP's tower."""

    key, title, source = "chameleon", "Chameleon", "2405.09818"
    idea = f"{_IDEA}Here the codes are those of a contrastive tower's patches, so it can read but not draw."
    faithful = (
        "The library's decoder, tiny, with tied embeddings. The codes are of a tower's features (k-means), not "
        "of a VQ's pixels."
    )
    lesson = Course(400, 48, 2e-3)
    lends: ClassVar = {"vqmodel.tower.": ("clip", "vision_model.")}

    def sight(self) -> Codes:
        return FeatureCodes()


class ChameleonPixels(EarlyFusion):
    """`ChameleonModel` over the codes of a VQ-VAE, which it can also write."""

    key, title, source = "chameleon_pixels", "Chameleon, codes of pixels", "2405.09818"
    idea = f"{_IDEA}The codes are those of a VQ-VAE, so that what the decoder writes can be seen as an image."
    faithful = (
        "The library's decoder, tiny, with tied embeddings; the VQ-VAE has no discriminator, as the published has."
    )
    lesson = Course(400, 48, 2e-3)
    draws = True

    def sight(self) -> Codes:
        return PixelCodes()
