"""What an architecture can do here, found out by trying it on a narrow random twin (`helpers.models.miniatures`).

    python -m helpers.training.probe                      the table of docs/models.md
    python -m helpers.training.probe ID                   one model: a folder, or a hub id, of which no weight is read
    python -m helpers.training.probe --anew               probes all of `MINIATURES`, and writes verdicts and docs

A shortcut is taken only by architectures in which it gave the same numbers as the plain way: packing, as padding;
trees of prompts, as a pass per prompt; the tower's features from memory, as the tower. Six things are required of all:
a text does not call the tower, an image is written in the same tokens in training and in scoring, an answer's loss is
its likelihood, it depends on the image, padding changes nothing, a saved adapter gives the same numbers once loaded.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image

from helpers.evaluation.prompts import Prompt
from helpers.evaluation.reader import Reader
from helpers.models.adapters import add_lora, load_adapter, remove_adapter
from helpers.models.batches import IGNORED, assistant, image_tensors, packed_batch, training_batch, user
from helpers.models.family import ALL_FAST, Family, Fast, plain_model
from helpers.models.loading import counted_tower
from helpers.models.miniatures import KNOWN_CHECKPOINTS, MINIATURES, draw_loudly, miniature, narrowed
from helpers.models.registry import family_of, family_of_model, whole_config
from helpers.models.rehearsal import Load, estimate, image_tokens, smallest_card
from helpers.models.rule import holds
from helpers.models.shapes import shapes
from helpers.models.verdicts import SHORTCUTS, VERDICTS, keep_verdicts, known_verdicts
from helpers.models.vision_cache import TowerFeatures
from helpers.paths import ROOT, atomic_write, resolve
from helpers.training.packing import attention_by_sample, packed_loss

_CLOSE = 1e-4  # likelihoods in nats; losses and gradients relative to their size
_LONGEST = 16_384  # tokens of a sample
_QUESTIONS = (("What?", "A moth."), ("Which one is it?", "The bee."))


@dataclass(frozen=True)
class Trial:
    """A narrow model with its processor and family."""

    model: Any
    processor: Any
    family: Family

    def samples(self) -> Iterator[tuple[list[dict[str, Any]], Image.Image | None]]:
        """Conversations with and without images, of different lengths."""
        for (question, answer), image in zip(_QUESTIONS * 2, (*images(), None, None), strict=True):
            yield [user(question, image is not None), assistant(answer)], image

    def encoded(self) -> list[dict[str, torch.Tensor]]:
        """Each sample in a batch of its own."""
        return [training_batch(self.processor, [chat], [image], _LONGEST) for chat, image in self.samples()]

    def reader(self, fast: Fast, model: Any = None) -> Reader:
        """A reader that takes these shortcuts."""
        reader = Reader(model or self.model, self.processor, batch_size=4, max_new_tokens=4)
        reader.__dict__["family"] = replace(self.family, fast=fast)
        return reader

    @property
    def prompts(self) -> list[Prompt]:
        """Several about the same image, some without any."""
        first, second = images()
        shown = [Prompt("What?", first), Prompt("Which?", first), Prompt("What?", second)]
        return [*shown, Prompt("Who?"), Prompt("Whom?")]


def images() -> tuple[Image.Image, Image.Image]:
    """Two that differ in shape and colours."""
    wide, square = Image.linear_gradient("L").resize((80, 50)), Image.radial_gradient("L").resize((56, 56))
    return Image.merge("RGB", (wide, wide.rotate(180), wide)), Image.merge("RGB", (square, square, square.rotate(90)))


# ---- what is required ------------------------------------------------------------------------------------------------


def same_tokens(trial: Trial) -> str:
    """Why an image is written differently in training and in scoring; empty if it is not."""
    reader = trial.reader(Fast())
    for (chat, image), trained in zip(trial.samples(), trial.encoded(), strict=True):
        words, answer = (turn["content"][-1]["text"] for turn in chat)
        asked = reader._given(Prompt(words, image))["input_ids"][0].tolist()
        if [*asked, *reader.continuation(answer)] != trained["input_ids"][0].tolist():
            return "a prompt has other tokens in training than in scoring"
    return ""


def same_likelihood(trial: Trial) -> str:
    """Why an answer's loss in training is not its likelihood in scoring; empty if it is.

    It is not, for instance, where a part of the model reads the whole text, and in training the answer too.
    """
    reader = trial.reader(Fast())
    for (chat, image), sample in zip(trial.samples(), trial.encoded(), strict=True):
        words, answer = (turn["content"][-1]["text"] for turn in chat)
        scored = reader.likelihoods([Prompt(words, image)], [[answer]], "probe")[0][0].total
        if abs(float(_loss(trial, sample).detach()) + scored) > _CLOSE * abs(scored):
            return "an answer has another likelihood in training than in scoring"
    return ""


def sees_images(trial: Trial) -> str:
    """Why an answer does not depend on the image; empty if it does."""
    one, other = ([Prompt("What?", image)] for image in images())
    totals = [trial.reader(Fast()).likelihoods(p, [["a moth"]], "probe")[0][0].total for p in (one, other)]
    return "" if abs(totals[0] - totals[1]) > _CLOSE else "its answer does not depend on the image"


def padding(trial: Trial) -> str:
    """Why samples padded to one length do not train as they do one by one; empty if they do."""
    samples = list(trial.samples())
    kinds = [[sample for sample in samples if (sample[1] is None) == alone] for alone in (True, False)]
    padded = [training_batch(trial.processor, [c for c, _ in kind], [i for _, i in kind], _LONGEST) for kind in kinds]
    return _different(step(trial, trial.encoded()), step(trial, padded))


def text_leaves_the_tower_alone(trial: Trial) -> str:
    """Why a text-only step calls the tower, or a step with an image does not; empty if both are right."""
    with counted_tower(trial.model, trial.family) as tower:
        texts = [sample for sample in trial.encoded() if not image_tensors(sample)]
        step(trial, texts)
        without = tower.calls
        step(trial, [sample for sample in trial.encoded() if image_tensors(sample)])
    if without:
        return "a text alone calls the vision tower"
    return "" if tower.calls or not trial.family.vision_tower else "an image does not call the vision tower"


def adapter_comes_back(trial: Trial) -> str:
    """Why a saved adapter does not give the same numbers on the base model; empty if it does."""
    before = likelihoods(trial.reader(Fast()), trial.prompts)
    with tempfile.TemporaryDirectory() as folder:
        trial.model.save_pretrained(folder)
        base = remove_adapter(trial.model, trial.family)
        untuned = likelihoods(trial.reader(Fast(), base), trial.prompts)
        loaded = load_adapter(base, folder)
    after = likelihoods(trial.reader(Fast(), loaded), trial.prompts)
    if not torch.equal(before, after):
        return "a saved adapter gives other numbers once loaded"
    return "" if (before - untuned).abs().max() > _CLOSE else "an adapter changes nothing"


# ---- the shortcuts ---------------------------------------------------------------------------------------------------


def packing(trial: Trial) -> str:
    """Why packed samples do not train as padded ones do; empty if they do."""
    plain = step(trial, trial.encoded())
    rows = []
    for sample in trial.encoded():
        positions = trial.family.positions(plain_model(trial.model), sample)
        tokens = {"input_ids": sample["input_ids"], "labels": sample["labels"], "positions": positions}
        rows.append({**tokens, **image_tensors(sample)})
    return _different(plain, step(trial, packed_batch(rows, trial.family.tiles_axis)))


def prompt_trees(trial: Trial) -> str:
    """Why trees do not give the likelihoods, or the replies, of one pass per prompt; empty if they do."""
    plain, trees = trial.reader(Fast()), trial.reader(ALL_FAST)
    apart = float((likelihoods(plain, trial.prompts) - likelihoods(trees, trial.prompts)).abs().max())
    if apart > _CLOSE:
        return f"likelihoods differ by {apart:.2g}"
    for prompts in (trial.prompts, trial.prompts[2:]):  # several about an image, and one about each
        if plain.write(prompts, "probe") != trees.write(prompts, "probe"):
            return "replies differ"
    return ""


def tower_cache(trial: Trial) -> str:
    """Why features from memory do not train as those of the tower do; empty if they do."""
    if not trial.family.vision_tower:
        return "there is no vision tower"
    shown = [sample for sample in trial.encoded() if image_tensors(sample)]
    plain = step(trial, shown)
    with TowerFeatures(trial.model, trial.family) as features:
        computed = step(trial, shown)
        if not features.computed:
            return "its tower does not work tile by tile"
        with counted_tower(trial.model, trial.family) as tower:
            remembered = step(trial, shown)
    return _different(plain, computed) or _different(plain, remembered) or ("tower called" if tower.calls else "")


def step(trial: Trial, batch: Any) -> list[torch.Tensor]:
    """Loss and gradients of a training step: of samples one by one, or of a packed batch."""
    trained = [parameter for parameter in trial.model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.grad = None
    if isinstance(batch, dict):
        with attention_by_sample(trial.model, trial.family):
            loss = packed_loss(trial.model, batch)
    else:
        loss = torch.stack([_loss(trial, sample) for sample in batch]).sum()
    loss.backward()
    return [loss.detach(), *(p.grad if p.grad is not None else torch.zeros_like(p) for p in trained)]


def _loss(trial: Trial, sample: dict[str, torch.Tensor]) -> torch.Tensor:
    """Summed over the labels."""
    reading = trial.family.reading(trial.model, bool(image_tensors(sample)))
    loss: torch.Tensor = reading(**sample).loss
    return loss * (sample["labels"] != IGNORED).sum()


def _different(first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]) -> str:
    pairs = list(zip(first, second, strict=True))
    apart = max(float((a - b).norm() / a.norm().clamp(min=1e-6)) for a, b in pairs)
    return f"loss or gradients differ by {apart:.2g} of their size" if not apart <= _CLOSE else ""


def likelihoods(reader: Reader, prompts: Sequence[Prompt]) -> torch.Tensor:
    """Prompts x answers."""
    found = reader.likelihoods(prompts, [["a moth", "a moose", "bee"]] * len(prompts), "probe")
    return torch.tensor([[answer.total for answer in several] for several in found])


# ---- verdicts --------------------------------------------------------------------------------------------------------

REQUIRED = (same_tokens, same_likelihood, sees_images, padding, text_leaves_the_tower_alone, adapter_comes_back)
SHORTCUT_TRIALS = (packing, prompt_trees, tower_cache)


def probe(trial: Trial) -> dict[str, Any]:
    """The verdict on an architecture, as `helpers.models.verdicts` keeps it; ``why`` holds a sentence per "no"."""
    verdict: dict[str, Any] = {"class": trial.family.model_class, "works": False}
    why: dict[str, str] = {}
    tuned = None
    for check in (*SHORTCUT_TRIALS, *REQUIRED):  # the last one takes the adapter off
        try:
            tuned = tuned or replace(trial, model=_tuned(trial))
            fault = check(tuned)
        except Exception as error:
            fault = f"{type(error).__name__}: {str(error).splitlines()[0]}" if str(error) else type(error).__name__
        if check in SHORTCUT_TRIALS:
            verdict[check.__name__] = not fault
        if fault:
            why[check.__name__] = _reason(trial, check.__name__, fault)
    verdict["works"] = not any(check.__name__ in why for check in REQUIRED)
    return {**verdict, "why": why}


def _tuned(trial: Trial) -> Any:
    """LoRA that has learnt something, and the projector."""
    tuned = add_lora(trial.model, trial.family, rank=2, alpha=4, dropout=0.0, projector=True, seed=0)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    return tuned.eval()


def _reason(trial: Trial, what: str, fault: str) -> str:
    """The cause, as far as the architecture shows it, before the symptom."""
    model = trial.model
    made = training_batch(trial.processor, [[user("?", True), assistant("!")]], [images()[0]], _LONGEST)
    inner = getattr(model, "model", None)
    causes = {
        "attention is bidirectional over images": "token_type_ids" in made and what != "tower_cache",
        "images enter by cross-attention": "cross_attention_mask" in made,
        "features and projector are not parts of an inner model": inner is None,
        "the projector works inside the tower": what == "tower_cache"
        and holds(trial.family.vision_tower, trial.family.projector),
        "logits are changed after the head": what != "tower_cache" and not _head_is_last(trial),
    }
    return next((cause for cause, there in causes.items() if there), fault)


def _head_is_last(trial: Trial) -> bool:
    """Whether logits are what the head makes of the last hidden states."""
    texts = [training_batch(trial.processor, [[user("What?"), assistant("A moth.")]], [None], _LONGEST)]
    taken: list[torch.Tensor] = []
    hook = trial.model.get_output_embeddings().register_forward_hook(lambda *given: taken.append(given[2].clone()))
    try:
        with torch.inference_mode():
            logits = trial.family.reading(trial.model, False)(**texts[0]).logits
    finally:
        hook.remove()
    return bool(torch.equal(taken[-1].to(logits), logits))


def trial_of_type(model_type: str) -> Trial:
    """The project's own small model of an architecture, saved and with the processor loaded, as a checkpoint's is."""
    model, processor = miniature(model_type)
    family = family_of_model(model)
    with tempfile.TemporaryDirectory() as folder:
        processor.save_pretrained(folder)
        return Trial(model, family.load_processor(folder), family)


def trial_of(path: str | Path) -> Trial:
    """A narrow twin of a checkpoint, from its configuration and processor alone."""
    family = family_of(path)
    model_class = getattr(transformers, family.model_class)
    try:
        config = model_class.config_class.from_dict(narrowed(whole_config(path)))
        config._attn_implementation = "eager"
        model = model_class(config)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: no narrow twin can be built to try it ({error}); it goes the plain way") from None
    draw_loudly(model)
    return Trial(model.eval().requires_grad_(False), family.load_processor(str(path)), family)


def verdict_in_words(verdict: dict[str, Any]) -> str:
    """A verdict as a line."""
    parts = []
    for name in SHORTCUTS:
        why = verdict["why"].get(name)
        parts.append(f"{name.replace('_', ' ')}: {'yes' if verdict[name] else f'no, {why}'}")
    faults = [why for name, why in verdict["why"].items() if name not in verdict]
    return "; ".join([f"works: {'yes' if verdict['works'] else 'no, ' + ', '.join(faults)}", *parts])


# ---- the table -------------------------------------------------------------------------------------------------------

DOCS = ROOT / "docs" / "models.md"
_BEGIN, _END = "<!-- by helpers.training.probe -->\n", "<!-- end -->"
_TEXT, _SIDE = 300, 336  # tokens of a text, and pixels per side of an image, in the estimates of memory


def memory(path: str | Path) -> tuple[float, float]:
    """GB that a training in 4 bit takes, with texts alone and with an image each; four samples, LoRA of rank 64."""
    shown = image_tokens(path, _SIDE)
    text, both = (estimate(path, Load(64, 4, _TEXT, seen, checkpointing=False))["total"] for seen in (0, shown))
    return text, both


def table(verdicts: dict[str, dict[str, Any]]) -> str:
    """The verdicts in Markdown, a row per architecture of `KNOWN_CHECKPOINTS`."""
    rows = [
        "| model type | class | for instance | billions | works | packing | prompt trees | tower cache | why not "
        "| GB, text only | GB, image and text | profile to copy |",
        "|---|---|---|---:|---|---|---|---|---|---:|---:|---|",
    ]
    for model_type, (example, billions, profile) in KNOWN_CHECKPOINTS.items():
        verdict = verdicts[model_type]
        flags = ["yes" if verdict[name] else "no" for name in ("works", *SHORTCUTS)]
        why = "; ".join(dict.fromkeys(verdict["why"].values()))
        gigabytes = ["", ""]
        if example in shapes():
            gigabytes = [f"{size:.1f}" for size in memory(example)]
        cells = [model_type, f"`{verdict['class']}`", example, f"{billions:g}", *flags, why, *gigabytes, f"`{profile}`"]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def write_docs(text: str) -> None:
    """Put the table into docs/models.md, between its marks."""
    before, _, rest = DOCS.read_text(encoding="utf-8").partition(_BEGIN)
    with atomic_write(DOCS) as temporary:
        temporary.write_text(f"{before}{_BEGIN}{text}{_END}{rest.partition(_END)[2]}", encoding="utf-8")


def probed_lines(path: str | Path) -> list[str]:
    """Probe one model from its configuration and processor, keep the verdict, and say it in lines."""
    trial = trial_of(path)
    verdict = probe(trial)
    keep_verdicts({trial.family.model_type: verdict})
    text, both = memory(path)
    return [
        f"{path}: {trial.family.model_class}, transformers {transformers.__version__}",
        *verdict_in_words(verdict).split("; "),
        f"training in 4 bit, text only: about {text:.1f} GB, smallest common card {smallest_card(text)}",
        f"training in 4 bit, image and text: about {both:.1f} GB, smallest common card {smallest_card(both)}",
    ]


def main(arguments: list[str] | None = None) -> None:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(prog="./run_all.sh models", description="Which models work, and how fast?")
    parser.add_argument("model", nargs="?", help="folder or hub id; its weights are not read")
    parser.add_argument("--anew", action="store_true", help="probe all architectures of the table, and write it")
    given = parser.parse_args(arguments)
    transformers.utils.logging.set_verbosity_error()
    if given.model:
        print(*probed_lines(resolve(given.model) if resolve(given.model).is_dir() else given.model), sep="\n")
        return
    if given.anew:
        keep_verdicts({model_type: probe(trial_of_type(model_type)) for model_type in MINIATURES}, VERDICTS)
        write_docs(table(known_verdicts()))
    print(table(known_verdicts()), end="")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"models: {error}")
