"""`grn eval`: what it prints, what it refuses, and that every option matters."""

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from grn.data.sources import open_source
from grn.errors import ModelNotFoundError
from grn.evaluation.frechet import Statistics
from grn.features.inception_network import InceptionV3
from grn.media import VideoWriter
from grn.pipeline import Pipeline
from grn.refine.config import SamplerConfig, sampler_config

FAST = ("--resolution", "32")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """A tar of 12 pictures of 24x20 in two styles, with captions and facts."""
    path = tmp_path_factory.mktemp("data") / "set.tar"
    rng = np.random.default_rng(0)
    with tarfile.open(path, "w") as archive:
        for i in range(12):
            name, style = f"thing {i % 6}", ("noto", "3d")[i // 6]
            file = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8)).save(file, "PNG")
            facts = json.dumps({"name": name, "style": style, "number": i}).encode()
            for suffix, data in (
                (".png", file.getvalue()),
                (".txt", f"a {name}, {style} style".encode()),
                (".json", facts),
            ):
                member = tarfile.TarInfo(f"{style}-{i}{suffix}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return path


def test_stats_writes_a_file_named_after_the_set_and_numbers_it(grn, here, pictures):
    assert grn("eval", "stats", pictures, *FAST).text == "set.npz\n"
    assert grn("eval", "stats", pictures, *FAST).text == "set-2.npz\n"
    assert Path("set.npz").read_bytes() == Path("set-2.npz").read_bytes()
    found = Statistics.load(Path("set.npz"))
    assert (found.network, found.count) == ("efficientnet-lite0 (offline) at 32", 12)


def test_stats_options_matter(grn, here, pictures):
    def run(*options) -> bytes:
        record = json.loads(grn("eval", "stats", pictures, "--json", "--force", "-o", "x.npz", *FAST, *options).text)
        assert record["output"] == "x.npz"
        return Path("x.npz").read_bytes() + str(record["pictures"]).encode()

    plain = run()
    assert run() == plain
    assert run("--size", "8") != plain
    assert run("--resolution", "64") != plain
    assert run("-n", "5") != plain
    assert run("-n", "5", "--seed", "1") != run("-n", "5")
    run("--batch-size", "5")
    small = Statistics.load(Path("x.npz"))
    run()
    torch.testing.assert_close(small.mean, Statistics.load(Path("x.npz")).mean, atol=1e-5, rtol=1e-4)


def test_keep_takes_the_pictures_with_the_facts(grn, here, pictures, pipeline, tokenizer):
    def count(*options) -> int:
        text = grn("eval", "stats", pictures, "--json", "--force", "-o", "x.npz", *FAST, *options).text
        return json.loads(text)["pictures"]

    assert count("--keep", "style=noto") == 6
    assert count("--keep", "style=noto,3d") == 12
    assert count("--keep", "number=1,7,8") == 3
    assert count("--keep", "style=3d", "--keep", "name=thing 1,thing 2") == 2
    recon = ("eval", "recon", "--data", pictures, "--tokenizer", tokenizer, "--rounds", "1", "--size", "16", *FAST)
    assert "6 pictures" in grn(*recon, "--keep", "style=noto").text
    text = grn("eval", "fid", "-m", "fake", "--reference", pictures, "-n", "4", "--keep", "style=noto", *FAST).text
    assert "6 reference pictures" in text
    assert all("noto" in prompt for prompt in pipeline.calls[0][0])


def test_inception_from_a_file_is_used_and_named(grn, here, pictures):
    torch.manual_seed(0)
    torch.save(InceptionV3().state_dict(), "inception.pth")
    outcome = grn(
        "eval", "stats", pictures, "-n", "2", "--features", "inception", "--inception", "inception.pth", "--json"
    )
    assert json.loads(outcome.text)["features"] == "inception-v3 (FID)"


def test_recon_prints_a_row_for_every_number_of_rounds(grn, here, pictures, tokenizer, monkeypatch):
    arguments = ("eval", "recon", "--data", pictures, "--tokenizer", tokenizer, "--size", "16", *FAST)
    lines = grn(*arguments).text.splitlines()
    assert "12 pictures of 16x16" in lines[0]
    assert "efficientnet-lite0 (offline) at 32" in lines[0]
    assert [line.split()[0] for line in lines[2:]] == ["1", "2", "4", "6", "8", "none"]
    record = json.loads(grn(*arguments, "--json", "--rounds", "2,none").text)
    assert [row["rounds"] for row in record["rows"]] == [2, None]
    assert record["measured_with"] == {"data_range": 255, "ssim_window": 11, "ssim_sigma": 1.5}
    assert record["rows"][0]["frechet_inception_distance"] == record["rows"][0]["frechet"]
    assert record["rows"][0]["bits_per_pixel"] == pytest.approx(4 * 2 / 256)
    assert lines[3].split()[2] == f"{record['rows'][0]['psnr']:.2f}"
    monkeypatch.setattr("grn.devices.multiplies_bfloat16", lambda: True)
    faster = json.loads(grn(*arguments, "--json", "--rounds", "2,none").text)
    assert (record["dtype"], faster["dtype"]) == ("float32", "bfloat16")
    assert faster["rows"][0]["psnr"] == pytest.approx(record["rows"][0]["psnr"], abs=0.2)


def test_recon_options_matter(grn, here, pictures, tokenizer):
    base = ("eval", "recon", "--data", pictures, "--tokenizer", tokenizer, "--rounds", "1", *FAST)
    plain = grn(*base, "--size", "16").text
    assert grn(*base, "--size", "32").text.splitlines()[2:] != plain.splitlines()[2:]
    other = grn(*base, "--size", "16", "-n", "4", "--markdown", "--plot", "plot.png").text
    assert "4 pictures" in other
    assert "| ---" in other
    assert Path("plot.png").read_bytes()[:4] == b"\x89PNG"
    refused = grn(*base, "--size", "16", "--plot", "plot.png")
    assert refused.code == 2
    assert "plot.png: exists already" in refused.err


def test_recon_measures_lpips_with_the_users_file(grn, here, pictures, tokenizer):
    class Distance(torch.nn.Module):
        def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
            return (first - second).abs().mean((1, 2, 3))

    torch.jit.save(torch.jit.script(Distance()), "lpips.pt")
    base = ("eval", "recon", "--data", pictures, "--tokenizer", tokenizer, "--rounds", "1", "--size", "16", *FAST)
    assert "LPIPS" in grn(*base, "--lpips", "lpips.pt").text
    assert json.loads(grn(*base, "--lpips", "lpips.pt", "--json").text)["measured_with"]["lpips"] == "lpips.pt"
    assert "LPIPS" not in grn(*base).text


def test_video_compares_clips_by_frame_pairs(grn, here):
    same = json.loads(grn("eval", "video", "clip.mp4", here, "--json", *FAST).text)
    assert same["frechet"] == pytest.approx(0, abs=1e-4)
    assert (same["pairs"], same["reference_pairs"]) == (6, 6)
    assert same["features"].endswith("frame pairs")


def test_video_refuses_clips_of_different_rates_or_brings_them_to_one(grn, here):
    frames = [np.full((16, 16, 3), 20 * t, np.uint8) for t in range(8)]
    for rate in (8, 4):
        with VideoWriter(here / f"{rate}.webp", 16, 16, rate) as video:
            for frame in frames:
                video.write(frame)
    refused = grn("eval", "video", "8.webp", "4.webp", *FAST)
    assert refused.code == 2
    assert "8.webp has 8 frames a second; bring them to one with --fps" in refused.err
    record = json.loads(grn("eval", "video", "8.webp", "4.webp", "--fps", "4", "--json", *FAST).text)
    assert (record["fps"], record["reference_pairs"], record["pairs"]) == (4, 3, 7)


@dataclass
class Result:
    frames: np.ndarray
    steps: int
    entropy: float | None
    record: dict


class FakePipeline:
    """Draws the picture that it knows for a caption, spoilt by noise: the less of it, the more steps and guidance."""

    name, size = "fake", 20
    known: ClassVar[dict[str, np.ndarray]] = {}

    def __init__(self, **config: int) -> None:
        self.generator = SimpleNamespace(config=SimpleNamespace(**config), fingerprint="0123")
        self.tokenizer, self.text, self.dtype_name = SimpleNamespace(fingerprint="4567"), None, "float32"
        self.calls: list[tuple] = []

    def settings(self, clip=None, **overrides) -> SamplerConfig:
        return sampler_config(SamplerConfig(), **overrides)

    def stream(self, prompts, *, seed, batch_size, negative_prompt, **settings) -> Iterator[Result]:
        self.calls.append((prompts, seed, settings))
        for i, (prompt, one) in enumerate(zip(prompts, seed, strict=True)):
            rng = np.random.default_rng(one)
            steps = settings.get("steps", 20)
            if settings.get("adaptive"):
                steps = min(settings["tmax"], settings["tmin"] + i)
            noise = rng.normal(0, 200 / steps / settings.get("guidance", 1), (20, 20, 3))
            clean = self.known.get(
                prompt, np.full((20, 20, 3), 7 * ((prompt if isinstance(prompt, int) else len(prompt)) % 30))
            )
            frames = np.clip(clean + noise, 0, 255).astype(np.uint8)[None]
            record = {"prompt": prompt, "seed": one, "steps": steps, "entropy": i / 100, "width": 20, "height": 20}
            yield Result(frames, steps, i / 100, {**record, "model": "fake"})


@pytest.fixture
def pipeline(monkeypatch, pictures) -> FakePipeline:
    """Stands where `grn.pipeline.Pipeline.from_pretrained` finds the model "fake"."""
    fake = FakePipeline()
    fake.known = {s.caption: s.image()[:, 2:22].astype(float) for s in open_source(pictures)}

    def from_pretrained(name, device, dtype, offline, **parts) -> FakePipeline:
        if name != "fake":
            raise ModelNotFoundError(f"{name}: no weights; looked in /a and /b")
        return fake

    monkeypatch.setattr(Pipeline, "from_pretrained", from_pretrained)
    return fake


def test_fid_names_the_features_and_counts(grn, here, pictures, pipeline):
    text = grn("eval", "fid", "-m", "fake", "--reference", pictures, "-n", "24", *FAST).text
    assert "efficientnet-lite0 (offline) at 32; 24 generated by fake, 12 reference pictures" in text
    prompts, seeds, settings = pipeline.calls[0]
    assert (len(prompts), len(set(prompts)), list(seeds), settings) == (24, 12, list(range(24)), {})


def test_fid_takes_statistics_of_the_same_features_only(grn, here, pictures, pipeline):
    grn("eval", "stats", pictures, "-o", "ref.npz", "--size", "20", *FAST)
    base = ("eval", "fid", "-m", "fake", "-n", "6", "--json", *FAST)
    from_tar = json.loads(grn(*base, "--reference", pictures).text)
    from_file = json.loads(grn(*base, "--reference", "ref.npz", "--captions", pictures).text)
    assert from_file["frechet"] == pytest.approx(from_tar["frechet"], rel=1e-4)
    assert from_file["reference"] == 12
    refused = grn(*base[:-1], "64", "--reference", "ref.npz", "--captions", pictures)
    assert refused.code == 4
    assert "different networks" in refused.err


def test_fid_measures_what_is_asked_for(grn, here, pictures, pipeline):
    base = ("eval", "fid", "-m", "fake", "--reference", pictures, "-n", "8", *FAST)
    record = json.loads(grn(*base, "--metrics", "fid,kid,prc", "--json").text)
    assert record["frechet_inception_distance"] == record["frechet"]
    assert {"kernel_inception_distance_mean", "precision", "recall", "f_score"} <= set(record)
    assert (record["seed"], record["preparation"]) == (0, "middle squares of 20 pixels")
    assert record["measured_with"] == {
        "kernel_inception_distance_subsets": 1,
        "kernel_inception_distance_subset_size": 8,
        "precision_recall_neighbours": 3,
    }
    text = grn(*base, "--metrics", "kid,prc").text
    assert "(1 x 8 pictures)" in text
    assert "(3 neighbours)" in text
    for metrics, message in (
        ("is", "metric 'is' is not known"),
        ("isc", "needs a network that tells classes"),
        ("prc", "metric prc needs at least 4 pictures on each side, found 3"),
    ):
        refused = grn(*base, "--metrics", metrics, *(("-n", "3") if metrics == "prc" else ()))
        assert (refused.code, len(pipeline.calls)) == (2, 2)
        assert message in refused.err


def test_fid_takes_published_files_of_pictures(grn, here, pictures, pipeline):
    frames = np.stack([sample.image()[:, 2:22] for sample in open_source(pictures)])
    np.savez("pictures.npz", frames)
    base = ("eval", "fid", "-m", "fake", "--captions", pictures, "-n", "8", "--json", *FAST)
    from_tar = json.loads(grn(*base, "--reference", pictures).text)
    from_file = json.loads(grn(*base, "--reference", "pictures.npz", "--metrics", "fid,kid").text)
    assert from_file["frechet"] == pytest.approx(from_tar["frechet"], rel=1e-5)
    assert grn("eval", "stats", "pictures.npz", "--size", "20", "-o", "theirs.npz", *FAST).code == 0
    assert json.loads(grn(*base, "--reference", "theirs.npz").text)["frechet"] == pytest.approx(
        from_tar["frechet"], rel=1e-5
    )
    assert grn("eval", "stats", "theirs.npz", *FAST).code == 3
    assert json.loads(grn("eval", "stats", "pictures.npz", "-n", "4", "--json", *FAST).text)["pictures"] == 4
    assert grn("eval", "stats", "pictures.npz", "--keep", "a=b", *FAST).code == 2
    # Statistics of another network beside the pictures are passed over; alone, they are refused before anything is drawn.
    np.savez("both.npz", frames, mu=np.zeros(2048), sigma=np.eye(2048))
    assert json.loads(grn(*base, "--reference", "both.npz").text)["frechet"] == pytest.approx(
        from_tar["frechet"], rel=1e-5
    )
    np.savez("stats.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    drawn = len(pipeline.calls)
    assert "different networks" in grn(*base, "--reference", "stats.npz").err
    assert len(pipeline.calls) == drawn


def test_statistics_of_pictures_prepared_otherwise_are_said(grn, here, pictures, pipeline):
    base = ("eval", "fid", "-m", "fake", "--captions", pictures, "-n", "4", *FAST)
    for size, said in ((None, True), ("8", True), ("20", False)):
        grn("eval", "stats", pictures, "-o", "s.npz", "--force", *(("--size", size) if size else ()), *FAST)
        outcome = grn(*base, "--reference", "s.npz")
        assert ("prepared otherwise" in outcome.err) == said
        assert ("`grn eval stats --size 20`" in outcome.err) == said


def test_statistics_are_prepared_for_the_model_that_they_will_be_compared_with(grn, here, pictures, words, classes):
    """As `eval fid` of that model prepares the same pictures: to the side of what it draws."""
    for model, side in (((), 128), (("-m", words), 64), (("-m", classes), 64), (("-m", words, "--size", "20"), 20)):
        found = json.loads(grn("eval", "stats", pictures, "-o", "s.npz", "--force", "--json", *model, *FAST).text)
        assert found["preparation"] == f"middle squares of {side} pixels"
    assert {Pipeline.from_pretrained(folder).size for folder in (words, classes)} == {64}


def test_fid_options_reach_the_sampler(grn, here, pictures, pipeline):
    base = ("eval", "fid", "-m", "fake", "--reference", pictures, "-n", "4", *FAST)
    assert grn(*base).text == grn(*base).text != grn(*base, "--seed", "1").text
    grn(*base, "--steps", "100", "--guidance", "5", "--temperature", "0.5")
    assert [settings for *_, settings in pipeline.calls] == [{}] * 3 + [
        {"steps": 100, "adaptive": False, "guidance": 5, "temperature": 0.5}
    ]


def test_fid_of_a_class_model_goes_through_the_classes(grn, here, pictures, pipeline):
    pipeline.generator.config.num_classes = 3
    grn("eval", "fid", "-m", "fake", "--reference", pictures, "-n", "7", *FAST)
    assert pipeline.calls[0][0] == [0, 1, 2, 0, 1, 2, 0]
    refused = grn("eval", "fid", "-m", "fake", "--reference", pictures, "--captions", pictures, *FAST)
    assert (refused.code, "--captions: fake draws from classes, not from words" in refused.err) == (2, True)


def test_fid_with_inception_adds_the_inception_score(grn, here, pictures, pipeline):
    class Script(torch.nn.Module):
        def forward(
            self, img: torch.Tensor, return_features: bool = False, no_output_bias: bool = False
        ) -> torch.Tensor:
            means = img.float().mean((2, 3))
            return means if return_features else torch.ones_like(means) / 3

    torch.jit.save(torch.jit.script(Script()), "inception.pt")
    network = ("--features", "inception", "--inception", "inception.pt")
    np.savez("theirs.npz", mu=np.zeros(3), sigma=np.eye(3))
    base = ("eval", "fid", "-m", "fake", "--reference", "theirs.npz", "--captions", pictures, "-n", "10")
    lines = grn(*base, *network).text.splitlines()
    assert "inception-v3 (FID); 10 generated by fake, an unknown number of reference pictures" in lines[0]
    assert lines[1] == "Inception score 1.000 +- 0.000 (10 parts)"


def test_adaptive_shows_steps_distances_and_ratios(grn, here, pictures, pipeline):
    base = ("eval", "adaptive", "-m", "fake", "--reference", pictures, "-n", "8", *FAST)
    text = grn(*base, "--tmin", "12", "--tmax", "15", "--plot", "steps.png").text
    assert "  12 | ######## 1" in text
    assert "  15 | ######################################## 5" in text
    assert "mean 14.2 steps, 12 to 15, 8 prompts by fake" in text
    assert "with 50 fixed steps" in text
    assert Path("steps.png").is_file()
    (fixed, seed, first), (chosen, other_seed, second) = pipeline.calls
    assert (fixed, seed) == (chosen, other_seed)
    assert first == {"adaptive": False, "steps": 50, "tmin": 12, "tmax": 15}
    assert second == {**first, "adaptive": True}
    record = json.loads(grn(*base, "--json", "--steps", "9").text)
    assert record["fixed"]["steps"] == 9
    assert record["frechet_ratio"] == pytest.approx(record["adaptive"]["frechet"] / record["fixed"]["frechet"])
    assert len(record["steps"]) == len(record["entropies"]) == 8


GENERATING = [
    (
        ["fid", "-m", "grn-b", "--features", "offline", "--reference", "SET"],
        4,
        "grn-b: no weights; looked in /a and /b",
    ),
    (["fid", "-m", "fake"], 3, "data/emoji/train.tar: not there; make it with `python recipes/emoji/prepare.py`"),
    (["fid", "-m", "fake", "--reference", "ref.npz"], 2, "ref.npz: holds no captions"),
    (["fid", "-m", "fake", "--reference", "bare"], 3, "photo.png: has no caption"),
    (
        ["adaptive", "-m", "fake", "--reference", "SET", "--tmin", "60", "--tmax", "50"],
        2,
        "--tmin 60 is above --tmax 50",
    ),
]


@pytest.mark.parametrize(("arguments", "code", "message"), GENERATING)
def test_generating_commands_refuse_in_one_line(grn, here, pictures, pipeline, arguments, code, message):
    Path("bare").mkdir()
    Path("photo.png").rename("bare/photo.png")
    np.savez("ref.npz", np.zeros((4, 32, 32, 3), np.uint8))
    outcome = grn("eval", *(pictures if argument == "SET" else argument for argument in arguments))
    assert outcome.code == code, outcome.err
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


TABLE = [
    (["stats", "absent"], 3, "absent: no such folder or tar"),
    (["stats", "text.png"], 3, "text.png: not a readable tar"),
    (["stats", ".", "-n", "0"], 2, "--num"),
    (["stats", ".", "--resolution", "8"], 2, "--resolution"),
    (["stats", "SET", "--features", "inception"], 2, "--inception FILE"),
    (["stats", "SET", "--features", "offline", "--inception", "x.pt"], 2, "--features inception"),
    (["stats", "SET", "--features", "inception", "--inception", "text.png"], 4, "text.png: not the Inception network"),
    (["stats", "SET", "--features", "inception", "--inception", "no.pt"], 4, "no.pt: no such file"),
    (["stats", "SET", "--keep", "style"], 2, "--keep style: expected FACT=VALUE"),
    (["stats", "SET", "--keep", "=noto"], 2, "--keep =noto: expected FACT=VALUE"),
    (["stats", "SET", "--keep", "style=no"], 3, "no picture has style=no; change --keep"),
    (["stats", "SET", "-n", "1", *FAST], 2, "at least 2 pictures"),
    (["stats", "SET", "-o", "absent/x.npz"], 5, "absent/x.npz: its folder does not exist"),
    (
        ["recon", "--data", "SET", "--plot", "x.doc"],
        2,
        "x.doc: no plot can be a .doc file (expected .png, .svg or .pdf)",
    ),
    (["recon"], 2, "--data"),
    (["recon", "--data", "SET", "--rounds", "0"], 2, "--rounds: '0'"),
    (["recon", "--data", "SET", "--tokenizer", "no-such-model"], 4, "no-such-model"),
    (["recon", "--data", "SET", "--tokenizer", "TOK", "--lpips", "text.png"], 4, "not a TorchScript file"),
    (["video", "clip.mp4", "absent.mp4"], 3, "absent.mp4"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "message"), TABLE, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_refusals_are_one_line_and_write_nothing(grn, here, pictures, tokenizer, arguments, code, message):
    before = sorted(here.iterdir())
    names = {"SET": pictures, "TOK": tokenizer}
    outcome = grn("eval", *(names.get(argument, argument) for argument in arguments))
    assert outcome.code == code, outcome.err
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert outcome.err.startswith("grn: error: ")
    assert outcome.out == b""
    assert sorted(here.iterdir()) == before
