"""What several tests share: the shipped base models, settings of a build, a small data set of drawn butterflies."""

import os
from contextlib import nullcontext

import pytest

if not os.environ.get("TEST_GPU"):  # before torch is imported, and for the processes that tests start
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

from helpers.paths import DATA


def pytest_collection_modifyitems(items):
    """Files with slow tests first: begun last, one of them would keep its process busy after the others have ended."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


MODELS = ("tiny-qwen2-vl", "tiny-llava-next")


@pytest.fixture(params=MODELS)
def model_path(request):
    """The folder of each shipped base model in turn."""
    return DATA / "models" / request.param


@pytest.fixture
def base(model_path):
    """A shipped base model in 4 bit, and its family."""
    from helpers.models.loading import load_model

    return load_model(model_path)


@pytest.fixture
def tuned(base):
    """LoRA that has learnt something: its second matrices are not zero."""
    import torch

    from helpers.models.adapters import add_lora

    model, family = base
    tuned = add_lora(model, family, rank=4, alpha=8, dropout=0.0, projector=True, seed=0)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02, generator=generator)
    return tuned, family


@pytest.fixture(scope="session")
def build():
    """The settings of the demo's build."""
    from helpers.config.build import Build

    return Build(
        directions=["name_to_description", "description_to_name"],
        parts=["appearance", "background"],
        detail_share=1,
        shuffled=False,
        hybrid_share=0.5,
        described_share=1,
        asked="all",
        limit_questions=None,
        seed=0,
    )


@pytest.fixture(scope="session")
def siglip_folder(tmp_path_factory):
    """A checkpoint of a random tiny SigLIP in the published form."""
    import torch
    from transformers import PreTrainedTokenizerFast, SiglipConfig, SiglipModel, SiglipProcessor
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    from helpers.evaluation.clip import TOKENIZER_FROM

    tokenizer = PreTrainedTokenizerFast.from_pretrained(TOKENIZER_FROM, model_max_length=64)
    shared = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
    none = dict(bos_token_id=None, eos_token_id=None)  # the defaults lie outside this vocabulary
    config = SiglipConfig(
        text_config=dict(**shared, **none, vocab_size=len(tokenizer), max_position_embeddings=64, projection_size=32),
        vision_config=dict(**shared, image_size=56, patch_size=14),
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("siglip")
    SiglipModel(config).save_pretrained(folder)
    SiglipProcessor(SiglipImageProcessorPil(size={"height": 56, "width": 56}), tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def butterflies(tmp_path_factory, build):
    """Texts, questions and pictures of eight drawn butterflies, as notebooks 01 and 02 make them."""
    from types import SimpleNamespace

    from helpers.datasets.build import build_samples
    from helpers.domains import open_domain

    folder = tmp_path_factory.mktemp("butterflies")
    domain = open_domain("butterfly", "drawn", None, 8, 1, 56, 0, distractors="random")
    domain.bring_images(folder)
    texts = domain.offline_texts(1)
    samples = {mode: list(build_samples(texts, mode, build)) for mode in ("text_only", "image_text")}
    return SimpleNamespace(folder=folder, texts=texts, questions=domain.questions(), samples=samples)


class NoMeter:
    """Replaces `helpers.training.meter.Meter`, whose energy tracker takes seconds to start; it has its own tests."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def phase(self, _name):
        return nullcontext()

    def record(self, of=None):
        return {"seconds": 1.0}

    def write_samples(self, path):
        return path


@pytest.fixture
def no_meter(monkeypatch):
    """Trainings whose costs nobody asks for."""
    monkeypatch.setattr("helpers.training.trainer.Meter", NoMeter)
