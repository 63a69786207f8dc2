"""`grn generate` with prompts that cannot be read, and stopped in the middle."""

from pathlib import Path
from typing import Any

import pytest
from helpers.generators import SIDE

from grn.media import read_image


def _prompts(folder: Path, *lines: str) -> Path:
    path = folder / "prompts.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# Some prompts that cannot be read


def test_unreadable_prompts_are_listed_and_the_rest_drawn(draw: Any, tmp_path: Path) -> None:
    path = _prompts(tmp_path, "cat", "???", "dog", "!!!")
    outcome = draw("--prompts", path, "-n", 2, "--steps", 1)
    assert outcome.code == 3
    assert outcome.text == "cat-0.png\ncat-1.png\ndog-0.png\ndog-1.png\n"
    assert [line[:25] for line in outcome.err.splitlines()] == [
        "grn: error: prompt '???':",
        "grn: error: prompt '!!!':",
    ]
    draw("cat", "-n", 1, "--steps", 1, "-o", "alone.png")
    assert (tmp_path / "alone.png").read_bytes() == (tmp_path / "cat-0.png").read_bytes()


@pytest.mark.parametrize("more", ["", "--grid"])
def test_no_readable_prompt(draw: Any, tmp_path: Path, more: str) -> None:
    outcome = draw("???", "!!!", *more.split())
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (3, b"", 2)
    assert _files(tmp_path) == []


# Asked for by mistake


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("-m", ""), "is empty; name a model or a folder, or leave it out"),
        (("--tokenizer", " "), "is empty; name a model or a folder, or leave it out"),
        (("-n", 10**8), "'-n': Input should be less than or equal to 1000000"),
    ],
)
def test_what_nobody_means_is_refused_at_once(grn: Any, options: tuple[Any, ...], says: str) -> None:
    outcome = grn("generate", "a cat", *options)
    assert (outcome.code, outcome.text) == (2, "")
    assert says in outcome.err


# Stopped in the middle


@pytest.mark.parametrize("target", ["grn.media.picture.Image.Image.save", "grn.files._flush"])
def test_an_interruption_leaves_no_half_file(
    draw: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    (tmp_path / "x.png").write_text("before")
    with monkeypatch.context() as changed:
        changed.setattr(target, interrupted)
        outcome = draw("cat", "-o", "x.png", "--force", "--steps", 1)
    assert (outcome.code, outcome.out, outcome.err) == (130, b"", "")
    assert _files(tmp_path) == ["x.png"]
    assert (tmp_path / "x.png").read_text() == "before"


def test_finished_pictures_outlive_an_interruption(draw: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from grn.pipeline import Pipeline

    pictures, calls = Pipeline.pictures, []

    def interrupted(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return pictures(*arguments)

    monkeypatch.setattr(Pipeline, "pictures", interrupted)
    outcome = draw("cat", "dog", "house", "red", "--batch-size", 1, "--steps", 1)
    assert (outcome.code, outcome.text) == (130, "cat.png\ndog.png\n")
    assert _files(tmp_path) == ["cat.png", "dog.png"]
    assert read_image(tmp_path / "dog.png").shape == (SIDE, SIDE, 3)
