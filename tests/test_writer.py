"""Writers: gates, cache, prices, the three back ends behind one interface, questions of own classes."""

import json

import pytest
from pydantic import ValidationError

from helpers.config.writer import Writer
from helpers.domains import open_domain
from helpers.domains.drawn import save_images
from helpers.domains.interface import Subject
from helpers.paths import DATA
from helpers.writer import checks
from helpers.writer.budget import Account, OverBudget, Price, price_of, priced_image_tokens
from helpers.writer.cache import CachedReply, open_cache
from helpers.writer.conversation import WriterRequest, WrittenQuestion, conversation, question_tasks, text_tasks
from helpers.writer.interface import open_writer, write_or_remove
from helpers.writer.prompts import load_prompt

APPEARANCE = (
    "This butterfly has bright orange wings with black veins and a white-dotted border, a slender black body and two "
    "antennae that end in small clubs."
)
BACKGROUND = (
    "It lives in open meadows of North America and flies in every season; its caterpillars eat nothing but milkweeds, "
    "and the adults travel far to the south in autumn."
)
MONARCH = Subject(
    domain="butterfly",
    class_id="monarch",
    name="Monarch",
    called="the Monarch",
    appearance={"wing_colour": "orange"},
    facts={"habitat": "meadows"},
    aliases=("Danaus plexippus",),
)


def reply(text, finish="stop") -> CachedReply:
    said = text if isinstance(text, str) else json.dumps(text)
    return CachedReply(request="r", model="m", text=said, finish=finish, tokens_in=1, tokens_out=1, cost=0.0)


def monarch_task(tmp_path, **more):
    other = Subject("butterfly", "atala", "Atala", "the Atala", facts={"habitat": "coasts"})
    prompts = {"butterfly": load_prompt("butterfly")}
    return text_tasks([MONARCH, other], prompts, Writer(backend="openai", **more), tmp_path, 1)[0]


# ---- gates ---------------------------------------------------------------------------------------------------------


def test_a_good_text_passes_every_gate(tmp_path):
    value, faults = monarch_task(tmp_path).read(reply({"appearance": APPEARANCE, "background": BACKGROUND}))
    assert (value.appearance, faults) == (APPEARANCE, [])


@pytest.mark.parametrize(
    ("appearance", "background", "fault"),
    [
        ("It has orange wings.", BACKGROUND, "appearance has 4 words; it must have 15 to 120"),
        (APPEARANCE, "word " * 151, "background has 151 words; it must have 15 to 150"),
        (
            APPEARANCE.replace("This butterfly", "The monarch"),
            BACKGROUND,
            "appearance gives the name away by 'Monarch'",
        ),
        (APPEARANCE + " Also called danaus.", BACKGROUND, "appearance gives the name away by 'danau'"),
        (APPEARANCE.replace("orange", "blue"), BACKGROUND, "the data says wing_colour = 'orange', the look does not"),
        (
            APPEARANCE,
            BACKGROUND.replace("open meadows", "the coast"),
            "the data says habitat = 'meadows', the text says 'co",
        ),
        (
            "Dieser Schmetterling hat leuchtend orange Flügel mit schwarzen Adern und einem Rand mit weißen Punkten.",
            "Er lebt auf offenen Wiesen in Nordamerika und fliegt in jeder Jahreszeit; seine Raupen fressen meadows.",
            "the language is 'de'; it must be 'en'",
        ),
    ],
)
def test_each_gate_names_its_fault(tmp_path, appearance, background, fault):
    _, faults = monarch_task(tmp_path).read(reply({"appearance": appearance, "background": background}))
    assert [found for found in faults if fault in found], faults


@pytest.mark.parametrize(
    ("name", "text", "given_away"),
    [
        ("Orange Tip", "It has orange wings with a dark tip.", False),
        ("Orange Tip", "It has wings with orange tips.", True),  # the whole name
        ("Giant Leopard Moth", "It is white like a leopard.", True),
        ("An 88", "Its hindwings show the number 88.", False),  # a short word gives nothing away by itself
        ("김치", "빨간 김치는 접시에 담겨 있다.", True),
        ("Grey Hairstreak", "Gray hairstreaks have fine tails.", True),
        ("Monarch", "It is monarchic in bearing.", False),
        ("김치", "배추김치와 김치찌개.", False),  # perhaps another word
        ("전", "전통 음식이다.", False),
        ("Cramer's Eighty-eight", "Like Cramer’s Eighty‑eight.", True),
        ("東京タワー", "これは東京タワーです。", True),
        ("كشري", "طبق والكشري", True),
    ],
)
def test_a_name_is_found_whole_or_by_its_longer_words(name, text, given_away):
    assert (
        bool(checks.name_faults("appearance", text, [name], "absent", ["orange", "tip", "giant", "moth"])) == given_away
    )


def test_a_name_can_be_asked_for():
    assert checks.name_faults("background", "The Red Admiral flies.", ["Red Admiral"], "present") == []
    assert checks.name_faults("background", "It flies.", ["Red Admiral"], "present")
    assert checks.name_faults("background", "김치는 맵다.", ["김치"], "present") == []


def test_both_habitats_named_is_no_contradiction():
    every = ["meadows", "forests", "coasts"]
    assert checks.contradiction_faults("It lives in meadows near forests.", "habitat", "meadows", every) == []
    assert checks.contradiction_faults("It lives in a forest.", "habitat", "meadows", every)
    assert checks.contradiction_faults("It lives somewhere.", "habitat", "meadows", every) == []


def test_near_duplicates_are_found_between_classes_and_not_within_one():
    other = "A round red plate with white waves and a thin gold rim, used on feast days."
    assert checks.near_duplicates([("a", APPEARANCE), ("b", other), ("c", APPEARANCE + " Yes.")]) == [2]
    assert checks.near_duplicates([("a", APPEARANCE), ("a", APPEARANCE)]) == []
    assert checks.near_duplicates([]) == []


def test_the_right_option_must_not_stand_out():
    assert checks.option_faults("in spring", ["in summer", "in autumn", "in winter"]) == []
    assert checks.option_faults("spring", ["Spring", "autumn", "winter"])
    assert checks.option_faults("in the first warm days of the early spring", ["in summer", "in autumn", "in winter"])
    assert checks.option_faults("spring", ["summer"])


# ---- conversations -------------------------------------------------------------------------------------------------


def test_a_fault_is_told_and_the_last_one_is_the_reason(tmp_path):
    talk = conversation(monarch_task(tmp_path, reasks=1))
    first = next(talk)
    second = talk.send(reply({"appearance": APPEARANCE.replace("orange", "blue"), "background": BACKGROUND}))
    assert second.messages[:2] == first.messages
    assert "wing_colour = 'orange'" in second.messages[-1]["content"]
    assert first.key != second.key
    with pytest.raises(StopIteration) as end:
        talk.send(reply("nonsense", finish="length"))
    assert end.value.value.replies == 2
    assert "cut off at max_tokens" in end.value.value.reason


FITTING = json.dumps({"appearance": APPEARANCE, "background": BACKGROUND}, indent=2)
DRAFT = json.dumps({"appearance": "A draft.", "background": "A draft."})
WRAPPED = {
    "alone": FITTING,
    "fence": f"```json\n{FITTING}\n```",
    "fence in capitals": f"```JSON\n{FITTING}\n```",
    "fence of another language": f"```json5\n{FITTING}\n```",
    "fence of tildes": f"~~~\n{FITTING}\n~~~",
    "fence in one line": f"```{FITTING}```",
    "fence that is not closed": f"```json\n{FITTING}",
    "fence in prose": f"Here it is:\n```Json\n{FITTING}\n```\nI left the name out.",
    "prose before": f"Sure! Here is your text:\n{FITTING}",
    "prose after": f"{FITTING}\nLet me know if {{you}} want {{changes}}.",
    "prose with braces before": f"By the form {{look, background}}: {FITTING}",
    "another object before": f'I was given {{"name": "Monarch"}}. {FITTING}',
    "another object after": f'{FITTING}\n{{"words": 25}}',
    "draft before": f"{DRAFT}\nBetter:\n{FITTING}",
    "byte order mark": f"\ufeff{FITTING}",
    "blanks": f"\r\n\t {FITTING} \n\n",
    "thinking": f"<think>\nLet me see.\n</think>\n\n{FITTING}",
    "thinking with a draft": f"<think>{DRAFT}</think>{FITTING}",
    "thinking after": f"{FITTING}<think>Does it fit?</think>",
    "thinking opened by the template": f"It says orange. {DRAFT}</think>\n{FITTING}",
    "thinking twice": f"<think>a</think> Hm. <think>b</think>\n{FITTING}",
    "thinking in capitals": f"<THINKING>a</THINKING>{FITTING}",
    "thinking of Seed": f"<seed:think>a</seed:think>{FITTING}",
    "thinking of Kimi": f"◁think▷a {DRAFT}◁/think▷{FITTING}",
    "thinking of Magistral": f"[THINK]a {DRAFT}[/THINK]{FITTING}",
    "channels of gpt-oss": "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final"
    f" <|constrain|>json<|message|>{FITTING}",
    "thinking and a fence": f"<reasoning>a</reasoning>\n```JSON\n{FITTING}\n```\nDone.",
    "answer in a tag": f"<answer>{FITTING}</answer>",
    "end token": f"{FITTING}<|im_end|>",
    "array": f"[{FITTING}]",
    "within an object": f'{{"result": {FITTING}}}',
    "braces twice": f"{{{FITTING}}}",
    "line breaks in a string": FITTING.replace("veins and", "veins\nand"),
}


@pytest.mark.parametrize("how", WRAPPED)
def test_a_fitting_reply_is_read_whatever_stands_around_it(tmp_path, how):
    value, faults = monarch_task(tmp_path).read(reply(WRAPPED[how]))
    assert faults == []
    assert (" ".join(value.appearance.split()), value.background) == (APPEARANCE, BACKGROUND)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (f"<think>{FITTING}</think>", "the reply: Invalid JSON"),  # thought, but not said
        (f"<think>{FITTING}", "the reply: Invalid JSON"),
        (f"Here: {FITTING[:40]}", "the reply: Invalid JSON: EOF while parsing a string"),
        ('Here: {"appearance": 7, "background": {"appearance": "a"}}', "appearance: Input should be a valid string"),
        ('{"a": ' * 2000, "the reply: Invalid JSON"),
    ],
)
def test_a_reply_that_does_not_fit_is_not_read_out_of_its_parts(tmp_path, text, fault):
    value, faults = monarch_task(tmp_path).read(reply(text))
    assert value is None
    assert faults[0].startswith(fault)


def test_a_model_is_not_shown_its_own_thinking_when_it_is_asked_again(tmp_path):
    talk = conversation(monarch_task(tmp_path))
    next(talk)
    again = talk.send(reply('<think>Hm.</think>{"appearance": "a"}'))
    assert [turn["content"] for turn in again.messages if turn["role"] == "assistant"] == ['{"appearance": "a"}']


def test_the_key_of_a_request_depends_on_all_that_a_reply_depends_on(tmp_path):
    base = monarch_task(tmp_path).request()
    keys = {base.key}
    extra = ({"extra_body": {"seed": 1}}, {"extra_body": {"seed": 2}}, {"temperature": None})
    for more in ({"model": "gpt-4.1"}, {"temperature": 1.0}, {"max_tokens": 9}, {"structured": "none"}, *extra):
        keys.add(monarch_task(tmp_path, **more).request().key)
    for content in (b"one", b"two"):
        (tmp_path / "p.png").write_bytes(content)
        keys.add(WriterRequest(base.messages, base.form, base.settings, tmp_path / "p.png").key)
    assert len(keys) == 10
    assert monarch_task(tmp_path, concurrency=1, base_url="http://127.0.0.1:1").request().key == base.key


# ---- cache, prices, settings ---------------------------------------------------------------------------------------


def test_the_cache_keeps_a_reply_once_and_drops_a_torn_line(tmp_path):
    path = tmp_path / "cache.jsonl"
    with open_cache(path) as cache:
        cache.add(reply("one"))
        cache.add(reply("two"))
    with path.open("a") as file:
        file.write('{"request": "x", "mod')
    with open_cache(path) as cache:
        assert cache.get("r").text == "one"
        cache.add(reply("three").model_copy(update={"request": "s"}))
    assert len(path.read_text().splitlines()) == 2


def test_a_forgotten_reply_can_be_given_anew_and_both_are_paid(tmp_path):
    def paid(text):
        return reply(text).model_copy(update={"cost": 1.0, "estimated": True})

    with open_cache(tmp_path / "cache.jsonl") as cache:
        cache.add(paid("one"))
        cache.forget(["r", "never asked"])
        assert cache.get("r") is None
        cache.add(paid("two"))
    with open_cache(tmp_path / "cache.jsonl", "elsewhere") as cache:
        assert (cache.get("r").text, cache.spent, cache.elsewhere) == ("two", 0.0, 2.0)
        cache.add(paid("three").model_copy(update={"request": "s"}))
    with open_cache(tmp_path / "cache.jsonl") as cache:
        assert (cache.get("s").text, cache.spent, cache.elsewhere, cache.estimated) == ("three", 2.0, 1.0, 2)


def test_prices_come_from_the_settings_else_from_the_table_and_nothing_is_free_unsaid():
    assert price_of(Writer(backend="openai", model="gpt-4o-2024-08-06")).cost(1_000_000, 100_000) == 2.5 + 1.0
    assert price_of(Writer(backend="openai", model="mine", price_in=0, price_out=0)).cost(9, 9) == 0
    with pytest.raises(ValueError, match=r"'mine', whose price is not in prices\.csv \(gpt-4o.*price_out"):
        price_of(Writer(backend="openai", model="mine"))


@pytest.mark.parametrize(
    ("size", "tiles"), [((512, 512), 1), ((1024, 1024), 4), ((2048, 4096), 6), ((56, 56), 1), ((1024, 512), 2)]
)
def test_tokens_of_a_picture_follow_the_published_rule(size, tiles):
    assert priced_image_tokens(Price(1, 1), *size) == 85 + 170 * tiles


def test_an_account_promises_no_more_than_its_budget():
    import asyncio

    async def spend() -> float:
        account = Account(budget=1.0, spent=0.0)
        await account.room_for(0.6)
        with account.promised(0.6) as bill:
            waiting = asyncio.create_task(account.room_for(0.6))
            await asyncio.sleep(0)
            assert not waiting.done()
            bill.cost = 0.1
        await waiting
        with pytest.raises(OverBudget, match=r"0\.1000 are spent"):
            await account.room_for(0.95)
        return account.spent

    assert asyncio.run(spend()) == pytest.approx(0.1)


@pytest.mark.parametrize("url", ["http://me:secret@host/v1", "https://host/v1?key=secret", "host/v1"])
def test_an_address_holds_no_secret(url):
    with pytest.raises(ValidationError, match=r"must hold no user|must be an address"):
        Writer(base_url=url)


@pytest.mark.parametrize("wrong", [{"key_variable": "sk-secret-123"}, {"api_key": "sk-secret-123"}])
def test_a_key_among_the_settings_is_refused_and_not_repeated(wrong):
    with pytest.raises(ValidationError) as error:
        Writer(backend="openai", **wrong)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("extra", "rule"),
    [
        ({"model": "m"}, r"must not hold model \(set by: writer\.model\)"),
        ({"max_tokens": 9, "temperature": 1}, r"max_tokens \(set by: writer\.max_tokens\), temperature \(set by"),
        ({"stream": True}, "replies are read as a whole"),
        ({"n": 2}, "one reply is asked for at a time"),
        *(
            ({name: "x"}, "must hold no key")
            for name in ("api_key", "api-key", "Authorization", "extra_headers", "token")
        ),
        ({"provider": [{"apiKey": "x"}]}, "must hold no key"),
        ({"user": "sk-planted-0123456789"}, "must hold no key"),
        ("low", "valid dictionary"),
        ({"top_p": float("nan")}, "finite"),
    ],
)
def test_further_fields_of_a_request_are_neither_set_elsewhere_nor_secret(monkeypatch, extra, rule):
    monkeypatch.setenv("SOME_KEY", "sk-planted-0123456789")
    with pytest.raises(ValidationError, match=rule) as error:
        Writer(extra_body=extra)
    assert "planted" not in str(error.value)


def test_further_fields_may_be_given_as_text_and_have_names_that_only_look_secret():
    fields = {"reasoning_effort": "low", "stop_token_ids": [1], "prompt_cache_key": "k", "min_tokens": 1}
    assert Writer(extra_body=json.dumps(fields)).extra_body == fields


def test_one_price_alone_is_refused():
    with pytest.raises(ValidationError, match="price_in and price_out go together"):
        Writer(price_in=1.0)


# ---- the three back ends -------------------------------------------------------------------------------------------


def test_the_offline_writer_has_the_same_interface_and_costs_nothing(tmp_path):
    domain = open_domain("butterfly", "drawn", None, 3, 1, 56, 0)
    writer = open_writer(Writer(), "butterfly")
    found = writer.write(domain, tmp_path, 2)
    assert (len(found.texts), found.failures, found.spent) == (6, [], 0.0)
    assert {text.prompt_hash for text in found.texts} == {None}
    assert str(writer.plan(domain, tmp_path, 2)) == "6 texts, 0 sets of questions, by offline: no requests, no cost"


def test_more_wordings_than_the_offline_writer_has_are_refused(tmp_path):
    domain = open_domain("butterfly", "drawn", None, 3, 1, 56, 0)
    with pytest.raises(ValueError, match=r"wordings_per_class is 99; the offline writer has \d wordings"):
        open_writer(Writer(), "butterfly").write(domain, tmp_path, 99)


def test_a_local_model_that_is_to_draw_lots_is_refused(tmp_path):
    settings = Writer(backend="local", temperature=0.5, cache_dir=str(tmp_path))
    with pytest.raises(ValueError, match=r"writer\.temperature is 0\.5; a local model decodes greedily: set it to 0"):
        open_writer(settings, "butterfly").write(open_domain("butterfly", "drawn", None, 1, 1, 56, 0), tmp_path, 1)


@pytest.mark.slow
def test_a_small_local_model_writes_what_fits_no_schema_and_that_is_listed(tmp_path):
    domain = open_domain("butterfly", "drawn", None, 1, 1, 56, 0)
    save_images(domain.classes, "train", 1, tmp_path, 56, 0)
    model = str(DATA / "models" / "tiny-qwen2-vl")
    settings = Writer(backend="local", model=model, max_tokens=8, reasks=1, with_image=True, cache_dir=str(tmp_path))
    found = open_writer(settings, "butterfly").write(domain, tmp_path, 1)
    assert (found.texts, [failure.replies for failure in found.failures]) == ([], [2])
    assert all("JSON" in failure.reason for failure in found.failures)
    kept = [json.loads(line) for line in (tmp_path / "butterfly.jsonl").read_text().splitlines()]
    assert [row["finish"] for row in kept] == [
        "stop",
        "length",
        "unusable",
        "unusable",
    ]  # eight tokens may be a whole reply
    assert write_or_remove(tmp_path / "failures.jsonl", found.failures) == 1
    assert write_or_remove(tmp_path / "failures.jsonl", []) == 0
    assert not (tmp_path / "failures.jsonl").exists()


# ---- questions and own classes -------------------------------------------------------------------------------------


def fact(category="season", right="in spring"):
    return {
        "category": category,
        "question": "When does this bird sing?",
        "right": right,
        "wrong": ["in summer", "in autumn", "in winter"],
    }


def birds(count=5):
    asked = (("test", "images/test/a.png"), ("test", "images/test/b.png"))
    return [
        Subject("birds", f"b{i}", f"Bird{i}", f"Bird{i}", refers="this bird", asked=asked if i == 0 else ())
        for i in range(count)
    ]


def test_questions_are_asked_for_and_put_together_with_names_drawn_here(tmp_path):
    from helpers.writer.run import _questions

    prompts = {"birds": load_prompt("questions_generic")}
    [task] = question_tasks(birds(), prompts, Writer(backend="openai"), tmp_path, 5)
    assert (task.what, task.data["count"], task.data["call_it"]) == ("questions", 2, "this bird")
    said = {"type1": "Which bird is this?", "type2": [fact(), fact("time", "at dawn")]}
    value, faults = task.read(reply(said))
    assert faults == []
    made = _questions([(task, value)], [one.name for one in birds()], seed=0)
    assert [(q.question_type, q.category, q.right_option) for q in made] == [
        (1, "name", "Bird0"),
        (2, "season", "in spring"),
        (1, "name", "Bird0"),
        (2, "time", "at dawn"),
    ]
    assert made[1].refers == "this bird"
    assert all(len(set(q.options)) == 4 for q in made)
    assert made == _questions([(task, value)], [one.name for one in birds()], seed=0)
    with pytest.raises(ValueError, match="there are only 3 classes, at least 4 are needed"):
        _questions([(task, value)], ["a", "b", "c"], seed=0)


def test_a_question_that_names_its_answer_or_too_few_are_faults(tmp_path):
    prompts = {"birds": load_prompt("questions_generic")}
    [task] = question_tasks(birds(), prompts, Writer(backend="openai"), tmp_path, 5)
    _, faults = task.read(reply({"type1": "Is this the Bird0 or not?", "type2": [fact()]}))
    assert "type2 has 1 questions; it must have 2" in faults
    assert [found for found in faults if "gives the name away" in found]
    assert WrittenQuestion.model_json_schema()["additionalProperties"] is False


def test_a_writer_is_asked_only_for_the_classes_that_bring_no_text(tmp_path):
    folder = DATA / "own" / "example"
    domain = open_domain("own", "own", folder, None, 1, 56, 0)
    brought = {text.class_id for text in domain.own_texts()}
    settings = Writer(backend="openai", cache_dir=str(tmp_path))
    plan = open_writer(settings, "own").plan(domain, folder, 1)
    assert plan.texts == len({one.class_id for one in domain.class_info()} - brought)
    assert len(open_writer(Writer(), "own").write(domain, folder, 1).texts) >= len(domain.classes)
