"""What makes codes of an image, so that one decoder can read and write images and words alike.

`PixelCodes` is a VQ-VAE (arXiv 1711.00937), with a decoder that makes an image of codes again. `FeatureCodes` numbers
the features of a contrastive tower, which say what a patch means; no image comes back from them.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from helpers.families.interface import Course, descend
from helpers.families.scenes import IMAGE_SIDE, pool
from helpers.families.tower import PATCH, WIDTH, image_tower


def centres(vectors: Tensor, count: int) -> Tensor:
    """``count`` x width: the centres of vectors x width, by k-means."""
    from sklearn.cluster import MiniBatchKMeans

    found = MiniBatchKMeans(count, batch_size=4096, n_init=1, max_iter=30, random_state=0).fit(vectors.numpy())
    return torch.from_numpy(found.cluster_centers_).float()


class Codes(nn.Module):
    """``entries`` codes of a ``width``; an image has ``count`` of them."""

    def __init__(self, entries: int, count: int, width: int) -> None:
        super().__init__()
        self.entries, self.count = entries, count
        self.codebook = nn.Parameter(torch.randn(entries, width))

    def features(self, shown: Tensor) -> Tensor:
        """Images x count x width, before each becomes the nearest entry."""
        raise NotImplementedError

    def forward(self, shown: Tensor) -> Tensor:
        """Images x count codes."""
        return self.nearest(self.features(shown))

    def images(self, codes: Tensor) -> Tensor:
        """Images x 3 x 56 x 56, of images x count codes."""
        raise NotImplementedError("no image comes back from these codes")

    def nearest(self, features: Tensor) -> Tensor:
        """The entry that each of images x count x width is nearest to."""
        found: Tensor = torch.cdist(features.flatten(0, 1), self.codebook).argmin(dim=-1)
        return found.view(features.shape[:2])

    @torch.no_grad()
    def learn(self, seed: int = 0, images: int = 2000) -> list[float]:
        """The codebook, from images of the lessons; returns losses, if there are any."""
        shown = next(pool().batches(images, seed)).shown
        self.codebook.copy_(
            centres(torch.cat([self.features(some) for some in shown.split(100)]).flatten(0, 1), self.entries)
        )
        return []


class FeatureCodes(Codes):
    """k-means over the patches of CLIP's tower, of its own or one that is there: one code per patch."""

    def __init__(self, entries: int = 512, tower: nn.Module | None = None) -> None:
        super().__init__(entries, (IMAGE_SIDE // PATCH) ** 2, WIDTH)
        self.tower = tower or image_tower()

    def features(self, shown: Tensor) -> Tensor:
        found: Tensor = self.tower(shown).last_hidden_state
        return found


class PixelCodes(Codes):
    """A VQ-VAE: 7 x 7 codes, each for 8 x 8 pixels. k-means begins the codebook (arXiv 2107.03312)."""

    COURSE, PLAIN = Course(500, 48, 2e-3), 200  # PLAIN: the first steps, without codes

    def __init__(self, patch: int = 4, entries: int = 512, width: int = 16) -> None:
        self.side = IMAGE_SIDE // (2 * patch)
        super().__init__(entries, self.side**2, width)
        self.encoder = nn.Sequential(
            *(nn.Conv2d(3, 48, patch, patch), _Residual(48), nn.Conv2d(48, 96, 2, 2), _Residual(96)),
            nn.Conv2d(96, width, 1),
        )
        self.decoder = nn.Sequential(
            *(nn.Conv2d(width, 96, 3, 1, 1), _Residual(96), nn.ConvTranspose2d(96, 48, 2, 2)),
            *(_Residual(48), nn.GELU(), nn.ConvTranspose2d(48, 3, patch, patch)),
        )

    def features(self, shown: Tensor) -> Tensor:
        found: Tensor = self.encoder(shown).flatten(2).transpose(1, 2)
        return found

    def images(self, codes: Tensor) -> Tensor:
        return self._decoded(self.codebook[codes]).clamp(-1, 1)

    def _decoded(self, entries: Tensor) -> Tensor:
        found: Tensor = self.decoder(entries.transpose(1, 2).unflatten(2, (self.side, self.side)))
        return found

    def learn(self, seed: int = 0, images: int = 500) -> list[float]:
        """To draw each image again, first as it is, then through its codes (straight-through, commitment of 0.25)."""
        batches = pool().batches(self.COURSE.batch, seed)

        def loss(step: int) -> Tensor:
            shown = next(batches).shown
            features = self.features(shown)
            if step < self.PLAIN:
                return mse_loss(self._decoded(features), shown)
            if step == self.PLAIN:
                super(PixelCodes, self).learn(seed, images)
            entries = self.codebook[self.nearest(features)]
            drawn = self._decoded(features + (entries - features).detach())
            kept = mse_loss(entries, features.detach()) + 0.25 * mse_loss(features, entries.detach())
            return mse_loss(drawn, shown) + kept

        return descend(list(self.parameters()), self.COURSE, loss)


class _Residual(nn.Module):
    """Adds what two convolutions find."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.found = nn.Sequential(
            nn.GELU(), nn.Conv2d(width, width // 2, 3, 1, 1), nn.GELU(), nn.Conv2d(width // 2, width, 1)
        )

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = image + self.found(image)
        return found
