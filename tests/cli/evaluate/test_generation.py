"""`grn eval fid` at scale: kept, continued, shared by processes; what is measured with is said first."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from grn.evaluation.blocks import BLOCK
from grn.media import read_image
from grn.pipeline import Pipeline
from grn.refine.config import SamplerConfig

TINY = ("--inception", "tiny.pt")


class Script(torch.nn.Module):
    """Stands for Inception: three features."""

    def forward(self, img: torch.Tensor, return_features: bool = False, no_output_bias: bool = False) -> torch.Tensor:
        means = img.float().mean((2, 3))
        return means if return_features else (means / 32).softmax(1)


@pytest.fixture
def base(here: Path, classes: Path) -> tuple[Any, ...]:
    """A run of 8 pictures of the tiny class model, against ten of noise."""
    torch.jit.save(torch.jit.script(Script()), "tiny.pt")
    np.savez("real.npz", np.random.default_rng(0).integers(0, 256, (10, 64, 64, 3), np.uint8))
    return ("eval", "fid", "-m", classes, "--reference", "real.npz", "-n", "8", "--json", "--steps", "2", *TINY)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The seeds that were drawn."""
    seeds: list[Any] = []
    stream = Pipeline.stream

    def noted(self: Pipeline, prompts: Any, **options: Any) -> Any:
        seeds.extend(options["seed"])
        return stream(self, prompts, **options)

    monkeypatch.setattr(Pipeline, "stream", noted)
    return seeds


def test_a_report_says_every_setting(grn: Any, base: Any, drawn: list[int]) -> None:
    given = ("--guidance", "2", "--guidance-start", "0.2", "--temperature", "0.9", "--seed", "3", "--warmup", "4")
    record = json.loads(grn(*base, *given).text)
    assert set(record["sampling"]) == set(SamplerConfig.model_fields)
    wanted = {"guidance": 2, "guidance_start": 0.2, "temperature": 0.9, "steps": 2, "adaptive": False, "warmup": 4}
    assert {key: record["sampling"][key] for key in wanted} == wanted
    assert (record["seed"], record["generated"], record["mean_steps"], record["dtype"]) == (3, 8, 2, "float32")
    assert drawn == list(range(3, 11))


def test_batches_processes_and_kept_pictures_change_nothing(
    grn: Any, base: Any, drawn: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = json.loads(grn(*base).text)["frechet"]
    assert json.loads(grn(*base, "--batch-size", "3", "--save", "pictures").text)["frechet"] == pytest.approx(plain)
    assert drawn == [*range(8), *range(8)]
    assert read_image(Path("pictures/000007.png")).shape == (64, 64, 3)
    drawn.clear()
    assert json.loads(grn(*base, "--save", "pictures").text)["frechet"] == pytest.approx(plain)
    assert drawn == []
    monkeypatch.setenv("RANK", "1")  # a process that does not lead does its share and says nothing
    other = grn(*base, "--out", "kept")
    assert (other.code, other.out, other.err, drawn) == (0, b"", "", list(range(8)))
    monkeypatch.setenv("RANK", "0")
    drawn.clear()
    record = json.loads(grn(*base, "--out", "kept").text)
    assert (record["frechet"], drawn) == (pytest.approx(plain), [])
    assert json.loads(Path("kept/report.json").read_text()) == record
    grn(*base, "--out", "kept", "--temperature", "0.5")  # other settings are other work
    assert drawn == list(range(8))


def test_an_interrupted_run_goes_on(grn: Any, base: Any, drawn: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grn.evaluation.generation.BLOCK", 3)
    stream = Pipeline.stream

    def ends(self: Pipeline, prompts: Any, **options: Any) -> Any:
        if 6 in options["seed"]:
            raise KeyboardInterrupt
        return stream(self, prompts, **options)

    with monkeypatch.context() as broken:
        broken.setattr(Pipeline, "stream", ends)
        assert grn(*base).code == 130
    assert drawn == list(range(6))
    ended = json.loads(grn(*base).text)["frechet"]
    assert drawn == list(range(8))
    assert ended == pytest.approx(json.loads(grn(*base).text)["frechet"])  # the work went with the result
    assert drawn == [*range(8), *range(8)]
    assert BLOCK > 3


def test_prompts_come_from_a_file(grn: Any, here: Path, base: Any, words: Path) -> None:
    Path("prompts.txt").write_text("a cat\n\na dog\n")
    line = [words if word == base[3] else word for word in base]
    record = json.loads(grn(*line, "--captions", "prompts.txt", "--negative-prompt", "a dog", "--guidance", "2").text)
    assert (record["generated"], record["negative_prompt"]) == (8, "a dog")


def test_a_published_model_is_measured_with_inception_or_says_what_is_used_instead(
    grn: Any, base: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    order: list[str] = []
    monkeypatch.setattr("grn_cli.evaluate.generation.load_model", lambda options: order.append("loaded") or 1 / 0)
    plain = base[: -len(TINY)]
    published = ["grn-b" if word == base[3] else word for word in plain]
    outcome = grn(*published)
    assert "measuring with efficientnet-lite0 instead" in outcome.err
    assert "pt_inception-2015-12-05-6726825d.pth" in outcome.err
    assert "name it with --inception FILE" in outcome.err
    assert order == ["loaded"]  # it is said before
    assert "instead" not in grn(*published, "--features", "offline").err
    assert "instead" not in grn(*plain).err
    (tmp_path / "torch/hub/checkpoints").mkdir(parents=True)
    torch.jit.save(torch.jit.script(Script()), tmp_path / "torch/hub/checkpoints/inception-2015-12-05.pt")
    assert "FID with Inception's weights in" in grn(*published, "-v").err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--steps", "3", "--adaptive"), "--steps and --adaptive"),
        (("--guidance-start", "2"), "guidance_start"),
        (("--curve", "square"), "curve"),
        (("--features", "offline"), "--inception: is used with"),
    ],
)
def test_refusals_come_before_anything_is_drawn(
    grn: Any, base: Any, drawn: list[int], options: tuple[str, ...], message: str
) -> None:
    outcome = grn(*base, *options)
    assert (outcome.code, drawn) == (2, [])
    assert message in outcome.err
