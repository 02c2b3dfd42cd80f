"""What several tests share: the shipped base models and a small data set of drawn butterflies."""

import pytest

from helpers.paths import DATA

MODELS = ("tiny-qwen2-vl", "tiny-llava-next")


@pytest.fixture(params=MODELS)
def model_path(request):
    """The folder of each shipped base model in turn."""
    return DATA / "models" / request.param


@pytest.fixture(scope="session")
def butterflies(tmp_path_factory):
    """Texts, questions and pictures of eight drawn butterflies, as notebooks 01 and 02 make them."""
    from types import SimpleNamespace

    from helpers.datasets import MODES, build_samples
    from helpers.domains import open_domain
    from helpers.writer import offline

    folder = tmp_path_factory.mktemp("butterflies")
    domain = open_domain("butterfly", "drawn", None, 8, 1, 56, 0)
    domain.bring_pictures(folder)
    texts = list(offline.write(domain, 1))
    directions = ["name_to_description", "description_to_name"]
    samples = {mode: list(build_samples(texts, mode, directions)) for mode in MODES}
    return SimpleNamespace(folder=folder, texts=texts, questions=domain.questions(), samples=samples)
