"""`grn eval geneval`, `grn eval vbench` and `grn eval report`: what they draw, keep and show."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from grn.media import open_media, read_image, read_note, write_image
from grn.pipeline import Pipeline
from grn.result import png_texts
from grn.text.word_vectors import StaticWordVectors

FAST = ("--steps", "1", "--json")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """(prompt, seed) of all that was drawn."""
    found: list[Any] = []
    stream = Pipeline.stream

    def noted(self: Pipeline, prompts: Any, **options: Any) -> Any:
        found.extend(zip(prompts, options["seed"], strict=True))
        return stream(self, prompts, **options)

    monkeypatch.setattr(Pipeline, "stream", noted)
    return found


def test_geneval_draws_its_folder_once_and_reads_results(grn: Any, here: Path, words: Path, drawn: list[Any]) -> None:
    lines = [{"tag": "colors", "prompt": f"a {colour} cat", "include": []} for colour in ("red", "green")]
    Path("metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    Path("pairs.tsv").write_text("a red cat\ta cat\n")
    base = ("eval", "geneval", "metadata.jsonl", "-m", words, "-o", "out", "-n", "2", "--rewritten", "pairs.tsv", *FAST)
    record = json.loads(grn(*base).text)
    assert (record["files"], record["drawn"], record["scores"]) == (4, 4, {})
    assert drawn == [("a cat", 0), ("a cat", 1), ("a green cat", 2), ("a green cat", 3)]
    assert read_image(Path("out/00001/samples/00001.png")).shape == (64, 64, 3)
    files = sorted(str(path) for path in Path("out").rglob("*") if path.is_file())
    assert len(files) == 6  # and nothing that the suite would trip over
    Path("out/00001/samples/00000.png").unlink()
    drawn.clear()
    Path("results.jsonl").write_text('{"tag": "colors", "correct": true, "metadata": "x"}\n')
    again = json.loads(grn(*base, "--results", "results.jsonl").text)
    assert (drawn, again["drawn"], again["scores"]["overall"]) == ([("a green cat", 2)], 1, 1.0)
    drawn.clear()
    grn(*base, "--temperature", "0.5")  # made otherwise, so they are drawn anew
    assert len(drawn) == 4
    assert json.loads(read_note(Path("out/00000/samples/00000.png")))["sampling"]["temperature"] == 0.5


def test_what_another_text_encoder_of_the_same_name_drew_is_drawn_anew(
    grn: Any, here: Path, words: Path, drawn: list[Any]
) -> None:
    shutil.copytree(words, "model")
    Path("metadata.jsonl").write_text(json.dumps({"tag": "colors", "prompt": "a red cat", "include": []}) + "\n")
    base = ("eval", "geneval", "metadata.jsonl", "-m", "model", "-o", "out", "-n", "2", *FAST)
    grn(*base)
    picture = Path("out/00000/samples/00000.png")
    record = json.loads(read_note(picture))
    assert len(record.pop("text_weights")) == 64
    write_image(picture, read_image(picture), png_texts(record))  # as an older version wrote it
    drawn.clear()
    grn(*base)
    assert not drawn
    folder = Path("model/text_encoder")
    table = StaticWordVectors.load(folder)
    StaticWordVectors(table.config, table.vocabulary, table.vectors * 2).save(folder)
    grn(*base)
    assert [seed for _, seed in drawn] == [1]


def test_vbench_draws_clips_by_the_names_of_prompts(
    grn: Any, here: Path, clips_model: Path, words: Path, drawn: list[Any]
) -> None:
    Path("info.json").write_text(json.dumps([{"prompt_en": "a cat", "dimension": ["scene"]}]))
    base = ("eval", "vbench", "info.json", "-m", clips_model, "-o", "out", "-n", "2", "--seconds", "1.25", *FAST)
    record = json.loads(grn(*base).text)
    assert sorted(path.name for path in Path("out").iterdir()) == ["a cat-0.mp4", "a cat-1.mp4"]
    with open_media(Path("out/a cat-1.mp4")) as media:
        assert (media.count_frames(), media.fps) == (record["frames"], 4) == (5, 4)
    Path("x_eval_results.json").write_text('{"scene": [0.5, []]}')
    again = json.loads(grn(*base, "--results", "x_eval_results.json").text)
    assert (len(drawn), again["drawn"], again["scores"]) == (2, 0, {"scene": 0.5})
    refused = grn("eval", "vbench", "info.json", "-m", words, "-o", "other", *FAST)
    assert (refused.code, refused.err.count("draws still pictures")) == (2, 1)


def test_report_writes_a_page(grn: Any, here: Path) -> None:
    Path("a.json").write_text('{"frechet": 3.5, "model": "<b>"}')
    assert grn("eval", "report", "a.json").text == "a.html\n"
    assert "3.5" in Path("a.html").read_text()
    assert grn("eval", "report", "a.json").code == 2
    assert grn("eval", "report", "a.json", "--force", "-o", "b.html", "--json").code == 0
    assert "&lt;b&gt;" in Path("b.html").read_text()
    assert grn("eval", "report", "none.json").code == 3
