"""Prompts and labels are those of the published checkpoints, to the letter; expected texts are worked out by hand."""

import json
import shutil
import warnings

import pytest

from helpers.base_models.tiny_models import LLAVA_TEMPLATE
from helpers.models.batches import IGNORED, assistant, chat_texts, prompt_texts, training_batch, user
from helpers.models.chat_templates import check_prompts, prompt_hashes
from helpers.models.loading import load_processor
from helpers.models.random_weights import PUBLISHED_TEMPLATES, STAND_IN_FOLDERS
from helpers.paths import DATA

LLAVA, QWEN = (STAND_IN_FOLDERS / name for name in ("llava-1.6-vicuna-7b", "qwen2-vl-7b"))
SENTENCE = (  # conv_llava_v1 in haotian-liu/LLaVA, and the prompt on the page of llava-hf/llava-v1.6-vicuna-7b-hf
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the human's questions."
)
QWEN_SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
SYSTEM = {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}


def conversation(image):
    return [user("What is it?", image), assistant("A moth.")]


PROMPTS = {
    (LLAVA, False): f"{SENTENCE} USER: What is it? ASSISTANT:",
    (LLAVA, True): f"{SENTENCE} USER: <image>\nWhat is it? ASSISTANT:",
    (QWEN, False): f"{QWEN_SYSTEM}<|im_start|>user\nWhat is it?<|im_end|>\n<|im_start|>assistant\n",
    (QWEN, True): (
        f"{QWEN_SYSTEM}<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>What is it?<|im_end|>\n"
        "<|im_start|>assistant\n"
    ),
}
ANSWERS = {LLAVA: " A moth.</s>", QWEN: "A moth.<|im_end|>\n"}


@pytest.mark.parametrize(("folder", "image"), PROMPTS)
def test_prompt_and_chat_are_the_published_ones(folder, image):
    processor, said = load_processor(folder), conversation(image)
    assert prompt_texts(processor, [said[:1]]) == [PROMPTS[folder, image]]
    assert chat_texts(processor, [said]) == [PROMPTS[folder, image] + ANSWERS[folder]]


@pytest.mark.parametrize(("folder", "image"), PROMPTS)
def test_the_labels_are_the_answer_and_the_token_that_ends_it(folder, image):
    from PIL import Image

    processor = load_processor(folder)
    shown = Image.new("RGB", (56, 56)) if image else None
    labels = training_batch(processor, [conversation(image)], [shown], 8192)["labels"][0]
    assert processor.tokenizer.decode(labels[labels != IGNORED]) == ANSWERS[folder]


def test_nothing_is_added_where_the_template_ends_the_turn_itself():
    processor = load_processor(DATA / "models" / "tiny-qwen2-vl")
    rendered = processor.apply_chat_template(conversation(True), tokenize=False)
    assert chat_texts(processor, [conversation(True)]) == [rendered]
    assert "curious" not in rendered


@pytest.mark.parametrize("image", [False, True])
def test_the_tiny_llava_has_the_published_template_whose_answers_an_end_token_is_added_to(image):
    processor, said = load_processor(DATA / "models" / "tiny-llava-next"), conversation(image)
    assert processor.chat_template == LLAVA_TEMPLATE
    assert processor.apply_chat_template(said, tokenize=False).endswith("ASSISTANT: A moth. ")
    assert chat_texts(processor, [said])[0].endswith("ASSISTANT: A moth.</s>")


def test_a_system_turn_replaces_the_sentence_and_has_no_role_word():
    assert prompt_texts(load_processor(LLAVA), [[SYSTEM, user("Why?")]]) == ["Be brief. USER: Why? ASSISTANT:"]


@pytest.mark.parametrize("folder", [LLAVA, QWEN])
def test_a_completed_template_is_saved_whole_and_completed_only_once(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    load_processor(folder).save_pretrained(tmp_path)
    assert load_processor(tmp_path).chat_template == load_processor(folder).chat_template


@pytest.fixture(params=[LLAVA, QWEN])
def bare(request, tmp_path):
    """A model folder without its template, and the template."""
    shutil.copytree(request.param, tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").unlink()
    return tmp_path / "model", PUBLISHED_TEMPLATES["llava_next" if request.param is LLAVA else "qwen2_vl"]


def edit(path, **changes):
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps(known | changes), encoding="utf-8")


def in_jinja(folder, template):
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def in_json(folder, template):
    edit(folder / "chat_template.json", chat_template=template)


def in_tokenizer(folder, template):
    edit(folder / "tokenizer_config.json", chat_template=template)


def among_several(folder, template):
    named = [{"name": "default", "template": template}, {"name": "tool_use", "template": "{{ tools }}"}]
    edit(folder / "tokenizer_config.json", chat_template=named)


@pytest.mark.parametrize("put", [in_jinja, in_json, in_tokenizer, among_several])
def test_the_template_is_found_in_each_of_its_published_places(bare, put):
    folder, template = bare
    put(folder, template)
    known = LLAVA if "USER" in template else QWEN
    assert prompt_texts(load_processor(folder), [[user("What is it?", True)]]) == [PROMPTS[known, True]]


def test_the_processor_s_own_template_comes_before_the_tokenizer_s(bare):
    folder, template = bare
    in_json(folder, template)
    in_tokenizer(folder, "{{ 'of the language model alone' }}")
    assert "What is it?" in prompt_texts(load_processor(folder), [[user("What is it?")]])[0]


def test_a_checkpoint_without_a_template_is_refused_with_a_remedy(bare):
    folder, _ = bare
    with pytest.raises(ValueError, match=r"model: no chat template in chat_template\.jinja, .*; copy the file from"):
        load_processor(folder)


@pytest.mark.parametrize(
    ("stated", "ends"), [(2, [2]), ([0, 2], [2, 0]), ([1], [1]), (None, [2])]
)  # 2: the tokenizer's own <|im_end|>
def test_the_end_tokens_are_those_at_which_the_model_stops_writing(stated, ends, tmp_path):
    shutil.copytree(QWEN, tmp_path / "model")
    edit(tmp_path / "model" / "generation_config.json", **({} if stated is None else {"eos_token_id": stated}))
    assert load_processor(tmp_path / "model").end_tokens == ends


def test_labels_that_do_not_end_are_refused():
    processor = load_processor(LLAVA)
    processor.end_tokens = [processor.tokenizer.convert_tokens_to_ids("e")]  # a word, which others may swallow
    with pytest.raises(ValueError, match=r"an answer's labels end in '.*', not in an end token \(e\), so the mod"):
        training_batch(processor, [[user("What is it?"), assistant("the")]], [None], 512)


def test_a_model_without_any_end_token_is_refused():
    processor = load_processor(LLAVA)
    processor.end_tokens, processor.tokenizer.eos_token = [], None
    with pytest.raises(ValueError, match=r"names a token that ends a turn, .*; set `eos_token_id`"):
        chat_texts(processor, [conversation(False)])


def test_prompt_hashes_tell_a_changed_prompt_from_a_changed_image():
    processor = load_processor(QWEN)
    before = prompt_hashes(processor)
    assert prompt_hashes(load_processor(QWEN)) == before
    processor.chat_template = processor.chat_template.replace("<|vision_end|>", "<|vision_end|>\n")
    now = prompt_hashes(processor)
    assert (now["text"] == before["text"], now["image"] == before["image"]) == (True, False)


def test_an_evaluation_says_that_the_template_has_changed_since_the_training(tmp_path):
    processor = load_processor(QWEN)
    (tmp_path / "training.json").write_text(json.dumps({"prompts": prompt_hashes(processor)}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_prompts(processor, tmp_path)
        check_prompts(processor, tmp_path / "of_an_earlier_version_without_the_file")
    processor.chat_template = processor.chat_template.replace("helpful", "harmless")
    with pytest.warns(UserWarning, match="prompts with text and image are no longer written or tokenised as in its tr"):
        check_prompts(processor, tmp_path)


def test_the_evaluation_of_an_adapter_compares(tuned, model_path, tmp_path):
    from helpers.config.profiles import load_profile
    from helpers.evaluation.run import load_reader

    tuned[0].save_pretrained(tmp_path)
    prompts = {**prompt_hashes(load_processor(model_path)), "text": "0" * 12}
    about = {"method": "qlora", "prompts": prompts}
    (tmp_path / "training.json").write_text(json.dumps(about))
    with pytest.warns(UserWarning, match="prompts with text are no longer written or tokenised as in its training"):
        load_reader(model_path, tmp_path, load_profile("demo").evaluation)
