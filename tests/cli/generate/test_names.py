"""Files named after prompts, in any script: the words stay, and every system takes the name."""

import os
import re
from pathlib import Path
from typing import Any
from unicodedata import category, combining, name, normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grn.text.cleaning import name_pictures
from grn_cli.generate.names import name_of


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("猫", "猫"),
        ("Чёрная КОШКА!", "чёрная-кошка"),
        ("고양이 두 마리", "고양이-두-마리"),
        (normalize("NFD", "고양이 が й"), "고양이-が-й"),
        ("ねこ、いぬ", "ねこ-いぬ"),
        ("قطة حمراء", "قطة-حمراء"),
        ("बिल्ली", "बिल्ली"),
        ("น้ำ", "น้ำ"),
        ("ශ්\u200dරී", "ශ්රී"),  # joined by a sign that nobody sees
        ("葛\U000e0100", "葛"),
        ("٣ قطط", "٣-قطط"),
        ("a red 猫, naïve кот", "a-red-猫-naive-кот"),
        ("猫\U0001f408", "猫-cat"),
        ("\u202eкот\u202c\x07/..\\кот", "кот-кот"),
        ("Łódź, Øl og ÆBLE", "lodz-ol-og-aeble"),
        ("Çığ það œuf straße", "cig-thad-oeuf-strasse"),
        ("\u3164\u115f", "picture"),  # letters that nobody sees
    ],
)
def test_other_scripts_keep_their_letters_and_digits(prompt: str, name: str) -> None:
    assert name_of(prompt) == name


@pytest.mark.parametrize("prompt", ["CON", "nul!", "com1", "LPT\u00b9"])
def test_devices_of_windows_are_no_names(prompt: str) -> None:
    assert name_of(prompt) == f"{name_of(prompt).split('-')[0]}-picture"
    assert name_of(f"{prompt} 7").endswith("-7")


@pytest.mark.parametrize("prompt", ["猫" * 100, "кошка" * 100, "\U00020000" * 100, "क्षि" * 50, "cat" * 100])
def test_names_are_short_in_bytes_and_end_with_a_whole_letter(prompt: str) -> None:
    name = name_of(prompt)
    assert prompt.startswith(name)
    assert 50 <= len(name.encode()) <= 120
    assert category(prompt[len(name)])[0] != "M"


def is_accented(letter: str) -> bool:
    """Or no letter of this script: what is left without marks is plain."""
    return "LATIN" not in name(letter, "") or normalize("NFKD", letter)[0].isascii()


@given(st.text(st.characters(max_codepoint=0x36F).filter(is_accented) | st.sampled_from("ẞệﬁＡ①Ⅷ…™\U0001f408")))
def test_latin_names_are_as_they_were(prompt: str) -> None:
    words = name_pictures(prompt).lower().replace("ß", "ss")
    letters = "".join(c for c in normalize("NFKD", words) if not combining(c))
    found = re.sub("[^a-z0-9]+", "-", letters).strip("-")[:60] or "picture"
    assert name_of(prompt) in (found, f"{found}-picture")


@given(st.text())
def test_every_name_is_safe(prompt: str) -> None:
    name = name_of(prompt)
    assert name
    assert all(c == "-" or category(c)[0] in "LMN" for c in name)
    assert name[0] != "-"
    assert category(name[0])[0] != "M"
    assert name == normalize("NFC", name)
    assert len(name.encode()) <= 120


def test_where_file_names_have_no_such_letters_the_latin_ones_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsencode", lambda name: name.encode("ascii"))
    assert [name_of(prompt) for prompt in ("red 猫 cat", "猫")] == ["red-cat", "picture"]


def test_files_of_prompts_in_other_scripts_are_found_again(draw: Any, tmp_path: Path) -> None:
    line = ["кот cat", "猫 cat", "猫 cat", "--steps", 1]
    assert draw(*line).text == "кот-cat-0.png\n猫-cat-0.png\n猫-cat-1.png\n"
    made = sorted(path.name for path in tmp_path.iterdir())
    assert draw(*line, "--resume").text == "кот-cat-0.png\n猫-cat-0.png\n猫-cat-1.png\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == made
