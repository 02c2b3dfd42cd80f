"""A class's name is found in a text in any script, and nothing else is: each case says what should be left."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from helpers.domains.names import find_names, plurals, same_name, without_names

NFD = unicodedata.normalize("NFD", "김치")


def left(name, text, others=(), neutral="this"):
    return without_names(text, name, neutral, others)


def unsure(name, text, others=(), small=True):
    return [mention.around for mention in find_names(text, name, others, small) if not mention.certain]


# ---- what is taken out, and what stays -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        # ways to write the same
        ("Queen Alexandra's Birdwing", "Queen Alexandra’s Birdwing is green.", "This is green."),
        ("Queen Alexandra’s Birdwing", "Queen Alexandras Birdwing is green.", "This is green."),
        ("Cramer's Eighty-eight", "The Cramer’s Eighty‑eight flies.", "This flies."),
        ("'Apapane", "The 'Apapane is red, the ʻApapane sings, Apapane.", "This is red, this sings, this."),
        ("Ōhiʻa lehua", "The ʻŌhiʻa lehua and the Ōhi‘a lehua.", "This and this."),
        ("Red Admiral", "A red-admiral, RED ADMIRAL! Red  Admiral_x, redadmiral.", "This, this! This_x, this."),
        ("Black_footed_Albatross", "The black-footed albatross glides.", "This glides."),
        ("Straße", "Die STRASSE ist grau. Straße aus Stein.", "Die this ist grau. This aus Stein."),
        ("İstanbul", "In ISTANBUL, İSTANBUL, istanbul.", "In this, this, this."),
        ("Café", "A Cafe\u0301 and a CAFÉ.", "This and this."),
        ("Cafe\u0301", "A Café.", "This."),
        ("김치", f"{NFD}는 맵다.", "This는 맵다."),
        (NFD, "김치는 맵다.", "This는 맵다."),
        ("Model X1", "Ｍｏｄｅｌ Ｘ１ is wide.", "This is wide."),
        ("ガラス", "ｶﾞﾗｽは青い。", "Thisは青い。"),
        ("Marsh Lantern", "A Marsh\u00a0Lan\u00adtern.", "This."),
        # English
        (
            "Monarch",
            "Monarchs are orange. The Monarch's wings. The monarchs' wings.",
            "These are orange. Its wings. These' wings.",
        ),
        ("Painted Lady", "Painted Ladies fly.", "These fly."),
        ("Finch", "Two finches.", "Two these."),
        ("Monkey", "The monkeys climb.", "These climb."),
        ("Wolf", "Wolves howl.", "These howl."),
        ("Dormouse", "Dormice sleep.", "These sleep."),
        ("Fisherman", "The fishermen.", "These."),
        ("Cactus", "Cacti and cactuses.", "These and these."),
        ("Bird of Paradise", "Birds of paradise dance.", "These dance."),
        ("Porsche 911", "The Porsche 911s are low, a Porsche911.", "These are low, this."),
        ("The Eagle", "An eagle. Eagle!", "This. This!"),
        ("C++", "C++ is blue. The C++'s logo.", "This is blue. Its logo."),
        ("C", "C and C++, C# and vitamin-C.", "This and C++, C# and vitamin-C."),
        ("Cep", "Concept art. The cep glows; a Cep too. Receptive.", "Concept art. This glows; this too. Receptive."),
        ("Amiral", "L’amiral est rouge.", "L’this est rouge."),
        ("911", "It cost 1,911 or 911.5, built as the 911.", "It cost 1,911 or 911.5, built as this."),
        ("St. John's Wort", "St John’s wort blooms.", "This blooms."),
        ("Fish & Chips", "Fish and chips, fish & chips.", "This, this."),
        ("Bœuf bourguignon", "Le boeuf bourguignon.", "Le this."),
        ("Child", "Children play.", "These play."),
        ("Ox", "Oxen pull; a box.", "These pull; a box."),
        # brackets
        ("(Red) Admiral", "The (Red) Admiral. The Red Admiral.", "This. This."),
        (
            "김치 (kimchi)",
            "김치 (kimchi)는 빨갛다. 김치는 맵다. Kimchi is hot.",
            "This는 빨갛다. This는 맵다. This is hot.",
        ),
        ("Mercury (planet)", "Mercury is a planet.", "This is a planet."),
        # Cyrillic, Greek, Devanagari: cases
        ("Матрёшка", "Матрешки стоят, матрёшку видно.", "This стоят, this видно."),
        ("Красный адмирал", "У красного адмирала, с Красным адмиралом.", "У this, с this."),
        ("Кот", "Который кот спит?", "Который this спит?"),
        ("Παρθενώνας", "Του Παρθενώνα, ο ΠΑΡΘΕΝΩΝΑΣ.", "Του this, ο this."),
        ("समोसा", "समोसे और समोसा, समोसों में।", "This और this, this में।"),
        ("क्‍ष", "क्ष और क्‍ष।", "This और this।"),
        # Arabic and Hebrew: prefixes
        ("كشري", "والكشري لذيذ، بالكشري، كَشَري.", "وthis لذيذ، بthis، this."),
        ("الأهرامات", "الاهرامات كبيرة وللأهرامات زوار.", "This كبيرة ولthis زوار."),
        ("فيل", "الفيل كبير، كفيل الدين.", "This كبير، كفيل الدين."),
        ("نیم‌فاصله", "نیم‌فاصله‌ها و نيم‌فاصله و نیمفاصله", "This‌ها و this و this"),
        ("قهوة", "وقهوة وللقهوة.", "وthis ولthis."),
        ("מנורה", "במנורות.", "בthis."),
        ("חנוכייה", "החנוכייה דולקת, ובחנוכייה.", "הthis דולקת, ובthis."),
        # Korean: particles
        (
            "한복",
            "한복은 옷이다. 전통 한복의 색, 한복에는, 한복입니다.",
            "This은 옷이다. 전통 this의 색, this에는, this입니다.",
        ),
        ("송이", "송이는 갈색이다. 가을의 송이.", "This는 갈색이다. 가을의 this."),
        ("소", "소는 크다. 소금과 소의 뿔, 염소.", "This는 크다. 소금과 this의 뿔, 염소."),
        ("전", "전은 납작하다. 전통이고 전는.", "This은 납작하다. 전통이고 전는."),
        ("김치", "김치찌개와 배추김치, 김치가 맵다.", "김치찌개와 배추김치, this가 맵다."),
        ("떡볶이", "떡 볶이를 먹는다.", "This를 먹는다."),
        ("K-pop", "K-pop은 K팝이다.", "This은 K팝이다."),
        # Japanese and Chinese
        ("東京タワー", "これは東京タワーです。東京タワーは赤い。", "これはthisです。Thisは赤い。"),
        ("すし屋", "このすし屋は古い。", "このthisは古い。"),
        ("たこ焼き", "丸いたこ焼きを食べる。", "丸いthisを食べる。"),
        ("たこやき", "これはたこやきです。", "これはthisです。"),
        ("ラーメン", "このラーメンは熱い。豚骨ラーメン。", "このthisは熱い。豚骨ラーメン。"),
        ("パン", "パンは白い。パンダとアンパン。", "Thisは白い。パンダとアンパン。"),
        ("茶", "茶は緑。お茶、茶色、積茶る。", "Thisは緑。お茶、茶色、積茶る。"),
        ("花", "花の色。花火、生け花。", "Thisの色。花火、生けthis。"),
        ("东京塔", "东京塔是红色的，这座东京塔很高。", "This是红色的，这座this很高。"),
        ("花生", "花生是黄的。开花生长，这种花生的壳。", "This是黄的。开花生长，这种thisの壳。".replace("の", "的")),
        # Thai
        ("ต้มยำกุ้ง", "นี่คือต้มยำกุ้งสีแดง", "นี่คือthisสีแดง"),
        ("ส้ม", "ส้ม กับ ส้มตำ", "This กับ ส้มตำ"),
        # emoji
        ("👨‍👩‍👧", "A 👨‍👩‍👧 and 👨‍👩‍👧‍👦.", "This and 👨‍👩‍👧‍👦."),
        ("👩", "👩 and 👩‍🔬.", "This and 👩‍🔬."),
        ("❤️", "A red ❤.", "A red this."),
    ],
)
def test_the_name_goes_and_every_other_word_stays(name, text, expected):
    assert left(name, text) == expected


@pytest.mark.parametrize(
    ("name", "text", "pieces"),
    [
        ("김치", "김치찌개와 배추김치가 있고 김치는 맵다.", ["김치찌개와", "배추김치가"]),
        ("소", "소금, 염소, 오소리다.", ["소금", "염소"]),
        ("花生", "开花生长", ["开花生长"]),
        ("茶", "お茶", ["お茶"]),
        ("パン", "アンパンとパンダ", ["アンパンとパンダ", "ンパンとパンダ"]),
        ("赤", "赤い", ["赤い"]),
        ("ส้ม", "ส้มตำ", ["ส้มตำ"]),
        ("ラーメン", "豚骨ラーメン", ["豚骨ラーメン"]),
        ("قهوة", "قهوته", ["قهوته"]),
        ("مسجد", "مسجدان", ["مسجدان"]),
        ("தோசை", "தோசையின்", ["தோசையின்"]),
        ("Sachertorte", "Sachertorten", ["Sachertorten"]),
        ("Monarch", "A monarchic bearing. Antimonarch. Harmonarchy.", ["monarchic", "Antimonarch"]),
        ("Dahlias", "A dahlia.", ["dahlia"]),
        ("Gallery (Munich Court)", "The Munich Court.", ["Munich Court"]),
        ("Ohia", "The ʻŌhiʻa.", ["ʻŌhiʻa"]),
        ("Ara", "ARA and Ára.", ["Ára"]),
        ("5", "It has 5 petals, 55 leaves.", ["5"]),
        ("A", "A hand.", ["A"]),
        ("It", "It is red.", ["It"]),
        ("V", "A V-shaped hand.", ["V"]),
        ("فيل", "كفيل", ["كفيل"]),
        ("Кот", "Коты.", ["Коты"]),
        ("Istanbul", "Istanbul'un", ["Istanbul"]),
    ],
)
def test_what_only_a_dictionary_could_tell_is_reported_and_left(name, text, pieces):
    assert unsure(name, text) == pieces
    assert [m for m in find_names(text, name) if m.certain and m.around in pieces] == []


def test_a_longer_name_of_another_class_is_not_cut():
    text = "Monarchs are orange. A Monarch moth is browner."
    assert left("Monarch", text, ("Monarch", "Monarch moth")) == "These are orange. A Monarch moth is browner."
    assert unsure("Monarch", text, ("Monarch", "Monarch moth")) == ["Monarch moth"]
    assert left("Monarch moth", text, ("Monarch", "Monarch moth")) == "Monarchs are orange. This is browner."


def test_small_letters_can_be_a_common_word():
    text = "A Peacock has peacock eyespots. PEACOCK!"
    assert without_names(text, "the Peacock", "this", small=False) == "This has peacock eyespots. This!"
    assert unsure("the Peacock", text, small=False) == ["peacock"]
    assert without_names("한복은 옷.", "한복", "this", small=False) == "This은 옷."
    assert without_names("An eagle.", "The eagle", "this", small=False) == "This."


def test_a_noun_says_what_is_meant_in_the_plural_too():
    text = "Monarchs fly; a Monarch rests. The Monarch's wings. 赤い。Monarchs!"
    assert left("Monarch", text, neutral="this butterfly") == (
        "These butterflies fly; this butterfly rests. This butterfly's wings. 赤い。These butterflies!"
    )


@pytest.mark.parametrize(
    ("word", "expected"), [("box", "boxes"), ("cep", "ceps"), ("fly", "flies"), ("toy", "toys"), ("Moth", "Moths")]
)
def test_the_regular_plural_comes_first(word, expected):
    assert plurals(word)[0] == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [("Cep", "CEP"), ("Straße", "STRASSE"), (NFD, "김치"), ("a\u200db", "ab"), ("x\u00ady", "xy"), ("❤️", "❤")],
)
def test_names_that_nobody_can_tell_apart_are_the_same(one, other):
    assert same_name(one) == same_name(other)


@pytest.mark.parametrize(("one", "other"), [("C", "C++"), ("Ara", "Ára"), ("m2", "m²"), ("김치", "김치찌개")])
def test_names_that_look_different_are_not_the_same(one, other):
    assert same_name(one) != same_name(other)


# ---- any text --------------------------------------------------------------------------------------------------------

ANY = st.text(st.characters(codec="utf-8"), max_size=40)
MIXED = st.text("aA’'- .ß가나은（)ア京のก่İé\u0301\u200c\u200d\u1100\u1161", max_size=20)


@given(ANY | MIXED, ANY | MIXED)
@example("İ", "i")
@example("\u0301", "\u0301")
def test_mentions_are_in_order_within_the_text_and_nothing_else_changes(text, name):
    found = find_names(text, name)
    places = [place for mention in found for place in (mention.start, mention.end)]
    assert places == sorted(places)
    assert all(0 <= mention.start < mention.end <= len(text) for mention in found)
    if not any(mention.certain for mention in found):
        assert without_names(text, name, "this") == text


@given(st.text("bcdfghjklmnpqrt", min_size=3, max_size=12), st.sampled_from(["", "ä", "ж", "京", "가", "\u0301"]))
def test_a_name_between_spaces_is_always_found(name, end):
    name += end
    assert left(name, f"x {name} y") == "x this y"
    assert left(name, f"x {name.upper()} y") == "x this y"
