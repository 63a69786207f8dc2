"""`grn eval`: what it prints, what it refuses, and that every option matters."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from grn.evaluation.frechet import Statistics
from grn.evaluation.inception import _Inception
from grn_cli.app import COMMANDS

FAST = ("--resolution", "32")


@pytest.fixture(autouse=True)
def _commands(monkeypatch):
    table = COMMANDS["eval"][1]
    for name in ("video", "neighbours", "adaptive"):
        monkeypatch.setitem(table, name, ("", f"evaluate:{name}"))


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
            facts = json.dumps({"name": name, "style": style}).encode()
            for suffix, data in ((".png", file.getvalue()), (".txt", f"a {name}".encode()), (".json", facts)):
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


def test_inception_from_a_file_is_used_and_named(grn, here, pictures):
    torch.manual_seed(0)
    torch.save(_Inception().state_dict(), "inception.pth")
    outcome = grn(
        "eval", "stats", pictures, "-n", "2", "--features", "inception", "--inception", "inception.pth", "--json"
    )
    assert json.loads(outcome.text)["features"] == "inception-v3 (FID)"


def test_recon_prints_a_row_for_every_number_of_rounds(grn, here, pictures, tokenizer):
    arguments = ("eval", "recon", "--data", pictures, "--tokenizer", tokenizer, "--size", "16", *FAST)
    lines = grn(*arguments).text.splitlines()
    assert "12 pictures of 16x16" in lines[0]
    assert "efficientnet-lite0 (offline) at 32" in lines[0]
    assert [line.split()[0] for line in lines[2:]] == ["1", "2", "4", "6", "8", "none"]
    record = json.loads(grn(*arguments, "--json", "--rounds", "2,none").text)
    assert [row["rounds"] for row in record["rows"]] == [2, None]
    assert record["rows"][0]["bits_per_pixel"] == pytest.approx(4 * 2 / 256)
    assert lines[3].split()[2] == f"{record['rows'][0]['psnr']:.2f}"


def test_recon_options_matter(grn, here, pictures, tokenizer):
    base = ("eval", "recon", "--data", pictures, "--tokenizer", tokenizer, "--rounds", "1,none", *FAST)
    plain = grn(*base, "--size", "16").text
    assert grn(*base, "--size", "16", "--batch-size", "5").text == plain
    assert grn(*base, "--size", "32").text.splitlines()[2:] != plain.splitlines()[2:]
    assert grn(*base, "--size", "16", "-n", "4").text != plain
    assert "| ---" in grn(*base, "--size", "16", "--markdown").text
    assert grn(*base, "--size", "16", "--plot", "plot.png").code == 0
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
    assert "LPIPS" not in grn(*base).text


def test_video_compares_clips_by_frame_pairs(grn, here):
    same = json.loads(grn("eval", "video", "clip.mp4", here, "--json", *FAST).text)
    assert same["frechet"] == pytest.approx(0, abs=1e-4)
    assert (same["pairs"], same["reference_pairs"]) == (6, 6)
    assert same["features"].endswith("frame pairs")


TABLE = [
    (["stats", "absent"], 3, "absent: no such folder or tar"),
    (["stats", "text.png"], 3, "text.png: not a readable tar"),
    (["stats", ".", "-n", "0"], 2, "--num"),
    (["stats", ".", "--resolution", "8"], 2, "--resolution"),
    (["stats", "SET", "--features", "inception"], 2, "--inception FILE"),
    (["stats", "SET", "--inception", "x.pt"], 2, "--features inception"),
    (["stats", "SET", "--features", "inception", "--inception", "text.png"], 4, "text.png: not the Inception network"),
    (["stats", "SET", "--features", "inception", "--inception", "no.pt"], 4, "no.pt: no such file"),
    (["stats", "SET", "-n", "1", *FAST], 2, "at least 2 pictures"),
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
