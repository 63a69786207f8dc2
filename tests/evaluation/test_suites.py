"""Folders and results of GenEval and VBench, in the formats of the suites themselves."""

import json
from pathlib import Path

import pytest

from grn.errors import BadInputError
from grn.evaluation.suites import (
    geneval_files,
    geneval_scores,
    read_geneval,
    read_pairs,
    read_vbench,
    vbench_files,
    vbench_scores,
)

METADATA = [
    {"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"},
    {"tag": "colors", "include": [{"class": "cow", "count": 1, "color": "red"}], "prompt": "a photo of a red cow"},
]
FULL_INFO = [
    {"prompt_en": "a toilet, frozen in time", "dimension": ["temporal_flickering"]},
    {"prompt_en": "a cat", "dimension": ["object_class"], "auxiliary_info": {"object_class": {"object": "cat"}}},
    {"prompt_en": "a cat", "dimension": ["scene"]},
]
DIMENSIONS = {
    "subject_consistency": 0.9538,
    "background_consistency": 0.9606,
    "temporal_flickering": 0.9834,
    "motion_smoothness": 0.9713,
    "dynamic_degree": 0.4907,
    "aesthetic_quality": 0.5489,
    "imaging_quality": 0.6292,
    "object_class": 0.8191,
    "multiple_objects": 0.3309,
    "human_action": 0.8540,
    "color": 0.8708,
    "spatial_relationship": 0.4618,
    "scene": 0.4643,
    "appearance_style": 0.2489,
    "temporal_style": 0.2418,
    "overall_consistency": 0.2644,
}


def test_geneval_reads_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "evaluation_metadata.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in METADATA))
    asked = read_geneval(path, 2)
    wanted = geneval_files(tmp_path / "out", asked, {"a photo of a bench": "a long wooden bench"}, seed=5)
    assert [str(one.path.relative_to(tmp_path / "out")) for one in wanted] == [
        "00000/samples/00000.png", "00000/samples/00001.png", "00001/samples/00000.png", "00001/samples/00001.png",
    ]  # fmt: skip
    assert [(one.prompt, one.seed) for one in wanted] == [
        ("a long wooden bench", 5), ("a long wooden bench", 6), ("a photo of a red cow", 7), ("a photo of a red cow", 8),
    ]  # fmt: skip
    # The suite's own names hold: the detector is asked for what the prompt of its file says.
    assert [json.loads((tmp_path / f"out/{i:05d}/metadata.jsonl").read_text()) for i in range(2)] == METADATA


def test_geneval_scores_are_the_suites_own(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    found = [(METADATA[0], True), (METADATA[0], True), (METADATA[0], False), (METADATA[1], False), (METADATA[1], False)]
    rows = [
        {"filename": f"{i}.png", "tag": line["tag"], "prompt": line["prompt"], "correct": correct, "reason": "",
         "metadata": json.dumps(line), "details": "{}"}
        for i, (line, correct) in enumerate(found)
    ]  # fmt: skip
    path.write_text("\n".join(map(json.dumps, rows)))
    scores = geneval_scores(path)
    assert scores == {
        "single_object": pytest.approx(2 / 3), "colors": 0, "overall": pytest.approx(1 / 3), "correct_prompts": 0.5,
        "correct_pictures": pytest.approx(2 / 5), "pictures": 5,
    }  # fmt: skip


def test_vbench_clips_are_named_by_their_prompt(tmp_path: Path) -> None:
    path = tmp_path / "VBench_full_info.json"
    path.write_text(json.dumps(FULL_INFO))
    asked = read_vbench(path)
    assert [(one.prompt, one.each) for one in asked] == [("a toilet, frozen in time", 25), ("a cat", 5)]
    wanted = vbench_files(tmp_path, asked, {"a cat": "a grey cat on a sofa"}, 0)
    assert len({one.path for one in wanted}) == len({one.seed for one in wanted}) == 30
    assert wanted[-1].path.name == "a cat-4.mp4"
    assert wanted[-1].prompt == "a grey cat on a sofa"
    assert [one.each for one in read_vbench(path, 2)] == [2, 2]
    assert [one.prompt for one in read_vbench(path, dimensions=["scene"])] == ["a cat"]
    (tmp_path / "color.txt").write_text("a red car\n\na blue car\n")
    assert [one.prompt for one in read_vbench(tmp_path / "color.txt")] == ["a red car", "a blue car"]
    for prompt in ("a/b", "x" * 250, "..", "a\0b", "a \ud83d"):
        (tmp_path / "bad.json").write_text(json.dumps([{"prompt_en": prompt, "dimension": []}]))
        with pytest.raises(BadInputError, match="cannot be a file's name"):
            vbench_files(tmp_path, read_vbench(tmp_path / "bad.json"), {}, 0)


def test_vbench_scores_are_brought_together_as_the_suite_does(tmp_path: Path) -> None:
    halves = [dict(list(DIMENSIONS.items())[:7]), dict(list(DIMENSIONS.items())[7:])]
    for i, half in enumerate(halves):
        results = {name: [score, [{"video_path": "x.mp4", "video_results": score}]] for name, score in half.items()}
        (tmp_path / f"{i}_eval_results.json").write_text(json.dumps(results))
    scores = vbench_scores([tmp_path / "0_eval_results.json", tmp_path / "1_eval_results.json"])
    assert {name: scores[name] for name in DIMENSIONS} == DIMENSIONS
    scaled = [
        (0.9538 - 0.1462) / (1 - 0.1462), (0.9606 - 0.2615) / (1 - 0.2615), (0.9834 - 0.6293) / (1 - 0.6293),
        (0.9713 - 0.706) / (0.9975 - 0.706), 0.4907 / 2, 0.5489, 0.6292,
    ]  # fmt: skip
    assert scores["quality"] == pytest.approx(sum(scaled) / 6.5)
    assert scores["total"] == pytest.approx((4 * scores["quality"] + scores["semantic"]) / 5)
    some = vbench_scores([tmp_path / "0_eval_results.json"])
    assert "quality" in some
    assert {"semantic", "total"}.isdisjoint(some)


def test_pairs_of_prompts(tmp_path: Path) -> None:
    pairs = {"a cat": "a grey cat", "a dog": "a brown dog"}
    (tmp_path / "a.json").write_text(json.dumps(pairs))
    (tmp_path / "a.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in pairs.items()))
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"prompt": a, "wording": b}) + "\n" for a, b in pairs.items()))
    for suffix in ("json", "tsv", "jsonl"):
        assert read_pairs(tmp_path / f"a.{suffix}") == pairs
    for name, text in (("b.tsv", "a cat\n"), ("b.json", '{"a": 1}'), ("b.jsonl", '["a"]'), ("c.json", "{")):
        (tmp_path / name).write_text(text)
        with pytest.raises(BadInputError, match=r"no pairs|not JSON"):
            read_pairs(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "read", "message"),
    [
        ('{"tag": "x"}', read_geneval, "no prompts of GenEval"),
        ("{", read_geneval, "line 1: not JSON"),
        ('{"tag": "x", "correct": 1}', geneval_scores, "no results of GenEval"),
        ("", geneval_scores, "holds no result"),
        ('[{"prompt": "x"}]', read_vbench, "no prompts of VBench"),
        ('[{"prompt_en": "x", "dimension": 3}]', read_vbench, "no prompts of VBench"),
        ('[{"prompt_en": "x", "dimension": [["y"]]}]', read_vbench, "no prompts of VBench"),
        ('{"scene": 0.5}', lambda path: vbench_scores([path]), "scene: no score"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, read, message: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(BadInputError, match=message):
        read(tmp_path / "x.json")
