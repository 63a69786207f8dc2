"""`grn models` on the known names and on a model folder."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.published_files import published_files

from grn.hub import registry
from grn.hub.resolve import converted_folder


@pytest.fixture(autouse=True)
def _nothing_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_list_names_every_model_and_its_state(grn: Any, tokenizer: Path, tmp_path: Path) -> None:
    folder = converted_folder("hbq-16")
    folder.parent.mkdir(parents=True)
    folder.symlink_to(tokenizer)
    lines = grn("models", "list").text.splitlines()
    assert [line.split()[0] for line in lines] == list(registry.ENTRIES)
    records = {record["name"]: record for record in map(json.loads, grn("models", "list", "--json").text.splitlines())}
    assert records["hbq-16"]["state"] == "on disk"
    assert records["hbq-16"]["bytes"] == (tokenizer / "model.safetensors").stat().st_size
    assert records["hbq-64"]["state"] == "to be pulled"
    assert records["grn-g"]["state"] == "not published"
    assert records["grn-g"]["bytes"] == 4 * 2_000_000_000


def test_show(grn: Any, tokenizer: Path) -> None:
    outcome = grn("models", "show", tokenizer)
    assert outcome.code == 0
    assert f"folder    {tokenizer}\n" in outcome.text
    assert "network   channels = 4\n" in outcome.text
    record = json.loads(grn("models", "show", tokenizer, "--json").text)
    assert record["config"]["network"]["channels"] == 4
    assert record["source"] == "folder"


def test_pull_of_what_is_here(grn: Any, tokenizer: Path) -> None:
    outcome = grn("models", "pull", tokenizer, "-v")
    assert (outcome.code, outcome.text) == (0, f"{tokenizer}\n")
    assert f"grn: info: {tokenizer}: folder; looked in {tokenizer}\n" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "err"),
    [
        ("models show nope", "nope: no model of that name"),
        ("models show hbq-l6", "did you mean hbq-"),
        ("models show hbq-64", "hbq-64: weights are not here (looked in "),
        ("models show grn-g", "the authors have published none"),
        ("models pull hbq-64 --offline", "hbq-64: weights are not here (looked in "),
    ],
)
def test_what_is_not_here(grn: Any, arguments: str, err: str) -> None:
    outcome = grn(*arguments.split())
    assert outcome.code == 4
    assert outcome.out == b""
    assert err in outcome.err
    assert outcome.err.startswith("grn: error: ")
    assert outcome.err.count("\n") == 1


def test_pull_goes_on_after_a_bad_name(grn: Any, tokenizer: Path) -> None:
    outcome = grn("models", "pull", "nope", tokenizer)
    assert (outcome.code, outcome.text) == (3, f"{tokenizer}\n")


# Converting by hand


def test_convert_says_which_weights_it_takes_and_how_they_are_sampled(grn: Any, tmp_path: Path) -> None:
    path = tmp_path / "GRN_ind_B_ep599.pth"
    torch.save(published_files()["GRN_ind_B_ep599.pth"], path)
    outcome = grn("models", "convert", path, "-o", tmp_path / "mine", "-v")
    assert (outcome.code, outcome.text) == (0, f"{tmp_path / 'mine'}\n")
    assert outcome.err == f"grn: info: {path}: a class to image, its model_ema1 weights; settings of grn-b\n"
    refused = grn("models", "convert", path, "-o", tmp_path / "mine")
    assert (refused.code, "exists already" in refused.err) == (2, True)
    record = json.loads(grn("models", "convert", path, "-o", tmp_path / "b", "--name", "b", "--json").text)
    assert record == {
        "name": "b", "folder": str(tmp_path / "b"), "kind": "class-to-image", "state": "model_ema1", "settings": "grn-b",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("option", "place", "value"),
    [
        ("--name other", ("name",), "other"),
        ("--context-start 2", ("network", "context_start"), 2),
        ("--channels 8 --rounds 5", ("network", "channels"), 8),
        ("--rounds 8 --channels 16", ("network", "target"), "bit"),
    ],
)
def test_convert_is_told_what_shapes_do_not_tell(
    grn: Any, tmp_path: Path, option: str, place: tuple[str, ...], value: Any
) -> None:
    torch.save(published_files()["GRN_ind_B_ep599.pth"], tmp_path / "w.pth")
    assert grn("models", "convert", tmp_path / "w.pth", "-o", tmp_path / "m", *option.split()).code == 0
    found: Any = json.loads((tmp_path / "m" / "config.json").read_text())
    for key in place:
        found = found[key]
    assert found == value


def test_a_text_encoder_is_converted_with_its_vocabulary(grn: Any, tmp_path: Path) -> None:
    files = published_files()
    torch.save(files["umt5-xxl/models_t5_umt5-xxl-enc-bf16.pth"], tmp_path / "w.pth")
    (tmp_path / "words").mkdir()
    files["umt5-xxl/umt5-xxl/tokenizer.json"].save(str(tmp_path / "words" / "tokenizer.json"))
    command = ("models", "convert", tmp_path / "w.pth", "-o", tmp_path / "m")
    refused = grn(*command)
    assert (refused.code, refused.err.count("\n")) == (4, 1)
    assert "give it with --vocabulary" in refused.err
    assert grn(*command, "--vocabulary", tmp_path / "words").code == 0
    assert (tmp_path / "m" / "tokenizer.json").is_file()


def test_convert_of_what_is_not_there_or_not_published(grn: Any, tmp_path: Path) -> None:
    missing = grn("models", "convert", tmp_path / "no.pth", "-o", tmp_path / "m")
    assert (missing.code, "no.pth: no such file; check the path" in missing.err) == (4, True)
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "w.pth")
    other = grn("models", "convert", tmp_path / "w.pth", "-o", tmp_path / "m")
    assert (other.code, "layer.weight" in other.err, other.err.count("\n")) == (4, True, 1)
    assert not (tmp_path / "m").exists()


def test_a_text_model_of_an_unknown_name_is_asked_about(grn: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    torch.save(published_files()["GRN_T2I_2B_FSA_251600.pth"], path)
    command = ("models", "convert", path, "-o", tmp_path / "m")
    refused = grn(*command)
    assert (refused.code, refused.err.count("\n")) == (4, 1)
    assert refused.err.endswith("; say it with --text-attention joint|one-way\n")
    refused = grn(*command, "--text-attention", "joint")
    assert refused.err.endswith("; say it with --like grn-t2i|grn-t2v|grn-8b|grn-8b-t2i\n")
    done = grn(*command, "--text-attention", "joint", "--like", "grn-t2i", "--json")
    assert json.loads(done.text) == {
        "name": "m", "folder": str(tmp_path / "m"), "kind": "text-to-visual", "state": None, "settings": "grn-t2i",
        "text_attention": "joint",
    }  # fmt: skip
    assert json.loads((tmp_path / "m" / "config.json").read_text())["network"]["text_attention"] == "joint"


def test_what_is_not_here_comes_with_a_way_to_get_it(grn: Any, tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(b"")
    for name, says in {
        "hbq-64": "; `grn models pull hbq-64` fetches it, without --offline and HF_HUB_OFFLINE\n",
        str(tmp_path / "x.pth"): "; published weights are fetched by name (`grn models pull NAME`), yours are turned "
        "into a folder by `grn models convert`\n",
    }.items():
        assert grn("models", "show", name).err.endswith(says)
