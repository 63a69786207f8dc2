"""`grn models` on the known names and on a model folder."""

import json
from pathlib import Path
from typing import Any

import pytest

from grn.models import registry, store


@pytest.fixture(autouse=True)
def _nothing_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_list_names_every_model_and_its_state(grn: Any, tokenizer: Path, tmp_path: Path) -> None:
    folder = store.converted_folder("hbq-16")
    folder.parent.mkdir(parents=True)
    folder.symlink_to(tokenizer)
    lines = grn("models", "list").text.splitlines()
    assert [line.split()[0] for line in lines] == list(registry.ENTRIES)
    records = {record["name"]: record for record in map(json.loads, grn("models", "list", "--json").text.splitlines())}
    assert records["hbq-16"]["state"] == "on disk"
    assert records["hbq-16"]["bytes"] == (tokenizer / "model.safetensors").stat().st_size
    assert records["hbq-64"]["state"] == "to be pulled"
    assert records["grn-l"]["state"] == "not published"
    assert records["grn-l"]["bytes"] == 4 * 458_000_000


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
        ("models show grn-l", "the authors have published none"),
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
