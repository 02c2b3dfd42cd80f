"""Frozen (arXiv 2106.13884): an image becomes two vectors in front of the words; the language model never learns."""

from torch import Tensor, nn

from helpers.families.connectors import Connector
from helpers.families.language_model import WIDTH
from helpers.families.tower import WIDTH as SEEN_WIDTH


class Frozen(Connector):
    """A linear map of the pooled image to two words' vectors."""

    key, title, source = "frozen", "Frozen", "2106.13884"
    idea = (
        "An image is a prefix of two vectors, which stand where words would. They are learned through the language "
        "model, which stays as it was. So whatever it can do with words, it can do behind an image."
    )
    faithful = (
        "One linear map of the pooled image to two vectors, and a language model that is frozen, as published. There, "
        "the image tower is trained in the same lesson; here, CLIP's is shared and frozen too."
    )
    LOOKS = 2

    def connector(self) -> nn.Module:
        return nn.Linear(SEEN_WIDTH, self.LOOKS * WIDTH)

    def see(self, shown: Tensor) -> Tensor:
        return self.model.connector(self.model.tower(shown).pooler_output).view(len(shown), self.LOOKS, WIDTH)
