"""What is undone in a prompt before any encoder sees it."""

import html

import ftfy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grn.text.cleaning import clean_prompt, clean_text, name_pictures


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("  A\tRed \n CAT ", "a red cat"),
        ("na\u00c3\u00afve", "na\u00efve"),  # UTF-8 read as Latin-1
        ("salt &amp; pepper", "salt & pepper"),
        ("salt &amp;amp; pepper", "salt & pepper"),
        ("\uff23\uff21\uff34 \ufb01sh", "cat fish"),  # full width, ligature
        ("a\x00 \x1b[31mcat\u200d", "a cat"),
    ],
)
def test_clean_prompt(prompt: str, expected: str) -> None:
    assert clean_prompt(prompt) == expected


@given(st.text(st.characters(max_codepoint=127)) | st.text())
def test_plain_text_is_spared_the_cleaning_that_would_not_change_it(prompt: str) -> None:
    assert clean_text(prompt) == " ".join(html.unescape(html.unescape(ftfy.fix_text(prompt))).split())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\N{CAT FACE}", "cat face"),
        ("a red\N{AIRPLANE}\ufe0f", "a red airplane"),
        ("\N{WOMAN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4}\u200d\N{ROCKET}", "woman rocket"),
        ("\N{REGIONAL INDICATOR SYMBOL LETTER D}\N{REGIONAL INDICATOR SYMBOL LETTER E} flag", "flag"),
        ("90\N{DEGREE SIGN} \N{COPYRIGHT SIGN} cat", "90\N{DEGREE SIGN} \N{COPYRIGHT SIGN} cat"),
        ("plain words, 3d!", "plain words, 3d!"),
    ],
)
def test_emoji_are_read_by_their_names(text: str, words: str) -> None:
    found = name_pictures(clean_prompt(text))
    assert (
        " ".join(c for c in found.replace("\ufe0f", "").split() if c != "\N{EMOJI MODIFIER FITZPATRICK TYPE-4}")
        == words
    )
