"""Tokenized data: codes are those of encoding directly, made once by all processes, anew when anything changes."""

import io
import json
import multiprocessing
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tars import clip, pack, png

from grn.codes import Codes
from grn.data import shards
from grn.data.coded import read_codes, text_tokens
from grn.data.samples import FilePart, Sample
from grn.data.shards import Maker, View, made_together, make, own_length, pieces
from grn.data.sides import TEXT
from grn.data.sources import Source, open_codes, open_source
from grn.errors import BadInputError, EnvironmentFaultError, ModelMismatchError
from grn.media import fit, square, to_pixels
from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.condition import Texts
from grn.tokenizer import Tokenizer


def tokenizer(seed: int = 0, rounds: int = 2, halves: bool = False) -> Tokenizer:
    torch.manual_seed(seed)
    config = TokenizerConfig(
        channels=4, rounds=rounds, encoder_width=4, decoder_width=4, multipliers=(1, 1), encoder_blocks=1, decoder_blocks=1,
        halves_time=(halves,), time_kernel=3 if halves else 1, folds_time=not halves,
    )  # fmt: skip
    network = CausalAutoencoder(config)
    network.to_latent.weight.data *= 30  # so that all codes occur
    return Tokenizer(network, "t", f"{seed:064x}")


def maker(view: View | None = None, **others: Any) -> Maker:
    return Maker(**{"tokenizer": tokenizer(), "view": view or View(8), "number_format": torch.float32} | others)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shards, "BATCH", 3)
    monkeypatch.setattr(shards, "PIECE", 4)


def members(count: int = 5, offset: int = 0) -> Iterator[tuple[str, bytes]]:
    for n in range(count):
        yield f"{n}.png", png((40 * n + 3 * offset) % 255, 12 + n, 10)
        yield f"{n}.json", json.dumps({"captions": [f"grey {n}", {"content": "a grey", "type": "short"}]}).encode()
        yield f"{n}.cls", str(n % 3).encode()


def pictures(path: Path, count: int = 5, offset: int = 0) -> Source:
    return open_source(pack(path, members(count, offset)))


def todo(source: Source, how: Maker, folder: Path) -> list[shards.Piece]:
    folder.mkdir(exist_ok=True)
    return pieces(source, how, lambda number, _: folder / f"{number}.tar")


def coded(source: Source, how: Maker, folder: Path) -> Source:
    return open_codes(made_together(todo(source, how, folder), how))


def indices(sample: Any, how: Maker, mirrored: bool = False) -> np.ndarray:
    codes = read_codes(sample, (how.tokenizer.name, how.tokenizer.fingerprint), how.tokenizer.config.rounds, mirrored)
    return codes.unpack().indices


@pytest.mark.parametrize("flip", [False, True])
def test_codes_are_those_of_encoding_directly(tmp_path: Path, flip: bool) -> None:
    source, how = pictures(tmp_path / "d.tar"), maker(View(8, flip=flip))
    found = coded(source, how, tmp_path / "codes")
    assert len(found) == 5
    for sample, of in zip(source, found, strict=True):
        frame = square(sample.image(), 8)
        for mirrored, picture in [(False, frame), (True, frame[:, ::-1])][: 1 + flip]:
            direct = how.tokenizer.encode(to_pixels(np.ascontiguousarray(picture)[None]))
            assert np.array_equal(indices(of, how, mirrored), direct[0].numpy())
        assert (of.wordings, of.label) == (sample.wordings, sample.label)
        assert of.info["made_from"] == str(sample)
    assert found.labels().tolist() == [0, 1, 2, 0, 1]
    with io.BytesIO(found[1].data()) as file:
        codes = Codes.load(file)
    assert (codes.kind, codes.width, codes.height, codes.frames, codes.tokenizer) == ("image", 8, 8, 1, "t")
    assert codes.dtype == "float32"
    fast = coded(source, replace(how, number_format=torch.bfloat16), tmp_path / "fast")
    assert read_codes(fast[1], ("t", "0" * 64), 2).dtype == "bfloat16"


def made(source: Source, how: Maker, folder: Path) -> list[bool]:
    return [by_us for _, by_us in make(todo(source, how, folder), how)]


CHANGES: dict[str, Callable[[Path], tuple[Source, Maker]]] = {
    "another picture": lambda p: (pictures(p / "d.tar", offset=1), maker()),
    "one picture more": lambda p: (pictures(p / "d.tar", 6), maker()),
    "another order": lambda p: (pictures(p / "d.tar")[::-1], maker()),
    "other weights": lambda p: (pictures(p / "d.tar"), maker(tokenizer=tokenizer(1))),
    "other rounds": lambda p: (pictures(p / "d.tar"), maker(tokenizer=tokenizer(rounds=3))),
    "rounds of its own": lambda p: (pictures(p / "d.tar"), maker(View(8, rounds=3))),
    "another size": lambda p: (pictures(p / "d.tar"), maker(View(4))),
    "shapes": lambda p: (pictures(p / "d.tar"), maker(View(8, ((8, 8), (12, 8))))),
    "mirrored too": lambda p: (pictures(p / "d.tar"), maker(View(8, flip=True))),
    "another number format": lambda p: (pictures(p / "d.tar"), maker(number_format=torch.bfloat16)),
    "with its texts": lambda p: (pictures(p / "d.tar"), maker(text=Lengths())),
    "behind a tag": lambda p: (pictures(p / "d.tar"), maker(text=Lengths(), tag="<T2I>")),
}
WITH_TEXTS: dict[str, Callable[[], dict[str, Any]]] = {
    "another tag": lambda: {"tag": "<T>"},
    "another encoder": lambda: {"text": Lengths(name="widths")},
    "another encoder of the same name": lambda: {"text": Lengths("1" * 64)},
}


@pytest.mark.parametrize("change", CHANGES)
def test_tars_are_made_once_and_anew_when_anything_changes(tmp_path: Path, change: str) -> None:
    folder = tmp_path / "codes"
    assert made(pictures(tmp_path / "d.tar"), maker(), folder) == [True, True]
    assert made(pictures(tmp_path / "d.tar"), maker(), folder) == [False, False]
    source, how = CHANGES[change](tmp_path)
    assert made(source, how, folder) == [True, True]
    assert made(source, how, folder) == [False, False]


@pytest.mark.parametrize("change", WITH_TEXTS)
def test_texts_are_read_anew_by_another_encoder(tmp_path: Path, change: str) -> None:
    source, folder = pictures(tmp_path / "d.tar"), tmp_path / "codes"
    for how in (maker(text=Lengths()), maker(**{"text": Lengths(), **WITH_TEXTS[change]()})):
        assert made(source, how, folder) == [True, True]
        assert made(source, how, folder) == [False, False]


@pytest.mark.parametrize("damage", [b"", b"no tar" * 1000])
def test_a_damaged_tar_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    source, folder = pictures(tmp_path / "d.tar"), tmp_path / "codes"
    made(source, maker(), folder)
    (folder / "1.tar").write_bytes(damage)
    assert made(source, maker(), folder) == [False, True]


def test_damaged_codes_are_a_bad_sample(tmp_path: Path) -> None:
    how = maker()
    found = coded(pictures(tmp_path / "d.tar"), how, tmp_path / "codes")
    path, offset, size = found[2].read.path, found[2].read.offset, found[2].read.size
    data = bytearray(path.read_bytes())
    data[offset + size // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadInputError, match="unreadable codes"):
        indices(found[2], how)
    indices(found[1], how)


def test_codes_of_another_tokenizer_or_too_few_rounds_are_refused(tmp_path: Path) -> None:
    found = coded(pictures(tmp_path / "d.tar"), maker(), tmp_path / "codes")
    with pytest.raises(ModelMismatchError, match="tokenize the data with that"):
        indices(found[0], maker(tokenizer=tokenizer(1)))
    with pytest.raises(ModelMismatchError, match="has 2 rounds and the network 3"):
        read_codes(found[0], ("t", "0" * 64), 3)
    one, two = (read_codes(found[0], ("t", "0" * 64), rounds).unpack().indices for rounds in (1, 2))
    assert np.array_equal(one, two >> 1)


def test_bad_samples_are_left_out_and_too_many_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = open_source(pack(tmp_path / "d.tar", [*members(), ("bad.png", b"no picture")]))
    how = maker(most_bad=0.2)
    found = coded(source, how, tmp_path / "codes")
    assert [sample.caption or sample.captions[0] for sample in found] == [f"grey {n}" for n in range(5)]
    assert any("d.tar: bad" in record.message for record in caplog.records)
    with pytest.raises(BadInputError, match=r"d\.tar: bad.*data\.most_bad"):
        coded(source, replace(how, most_bad=0.1), tmp_path / "others")
    assert not (tmp_path / "others" / "1.tar").exists()


def test_a_folder_that_cannot_be_written_is_the_machines_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    how = maker()
    work = pieces(pictures(tmp_path / "d.tar"), how, lambda number, _: tmp_path / "file" / f"{number}.tar")
    with pytest.raises(EnvironmentFaultError):
        made_together(work, how)


def _share(path: Path, folder: Path, barrier: Any, results: Any) -> None:
    torch.set_num_threads(1)
    shards._POLL_SECONDS = 0.02
    source, how = open_source(path), maker()
    work = todo(source, how, folder)
    barrier.wait(60)
    results.put([by_us for _, by_us in make(work, how)])


def test_processes_share_the_work_and_all_see_the_whole(tmp_path: Path) -> None:
    source, folder = pictures(tmp_path / "d.tar", 40), tmp_path / "codes"
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.Queue()
    workers = [context.Process(target=_share, args=(tmp_path / "d.tar", folder, barrier, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert sum(sum(one) for one in found) == 10
    assert [len(one) for one in found] == [10, 10]
    assert made(source, maker(), folder) == [False] * 10
    assert not list(folder.glob("*.lock"))


def test_pieces_end_with_their_tar_and_know_what_they_are_made_of(tmp_path: Path) -> None:
    for n, count in enumerate((6, 3)):
        pictures(tmp_path / f"d-{n}.tar", count, n)
    both, second = open_source(tmp_path / "d-{0..1}.tar"), open_source(tmp_path / "d-1.tar")
    parts = both.parts(4)
    assert [len(part) for part in parts] == [4, 2, 3]
    assert [s.captions for part in parts for s in part] == [s.captions for s in both]
    # What a piece follows from does not change with its neighbours.
    assert parts[2].identity() == second.identity()
    assert len({part.identity() for part in parts}) == 3
    kept = both.keep(captions=(["grey 1", {"content": "a grey", "type": "short"}],))
    assert len(kept) == 2
    assert kept.identity() not in {both.identity(), second.identity()}


def test_nothing_is_hashed_again_at_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(tmp_path / "d.tar", members())
    os.utime(path, (time.time() - 100,) * 2)
    first = made(open_source(path), maker(), tmp_path / "codes")
    monkeypatch.setattr("grn.digests._hash", lambda *_: pytest.fail("hashed again"))
    assert made(open_source(path), maker(), tmp_path / "codes") == [False] * len(first)


def test_each_sample_takes_the_size_nearest_in_shape(tmp_path: Path) -> None:
    shapes = [(10, 10), (20, 10), (10, 30), (11, 10), (16, 10)]
    source = open_source(
        pack(tmp_path / "d.tar", [(f"{n}.png", png(40 * n, *shape)) for n, shape in enumerate(shapes)])
    )
    how = maker(View(8, ((8, 8), (12, 8), (4, 12))))
    nearest = ((8, 8), (12, 8), (4, 12), (8, 8), (12, 8))
    for sample, of, size in zip(source, coded(source, how, tmp_path / "codes"), nearest, strict=True):
        direct = how.tokenizer.encode(to_pixels(fit(sample.image(), size)[None]))
        assert np.array_equal(indices(of, how), direct[0].numpy())


# Clips


def test_clips_are_as_long_as_they_are(tmp_path: Path) -> None:
    lengths = [30, 9, 8, 7, 5, 1]
    files = [(f"{n}.webp", clip(range(0, 4 * length, 4), 12, 10, 125)) for n, length in enumerate(lengths)]
    source = open_source(pack(tmp_path / "d.tar", files), clips=True)
    how = maker(View(8, frames=9, fps=8.0), tokenizer=tokenizer(halves=True))
    found = coded(source, how, tmp_path / "codes")
    kept = [9, 9, 7, 7, 5, 1]  # a quarter of a second is two frames, one token
    assert [indices(of, how).shape[0] for of in found] == [1 + (frames - 1) // 2 for frames in kept]
    for sample, of, frames in zip(source, found, kept, strict=True):
        direct = how.tokenizer.encode(to_pixels(square(sample.frames(frames, 8.0), 8)))
        assert np.array_equal(indices(of, how), direct[0].numpy())
        codes = read_codes(of, ("t", "0" * 64), 2)
        assert (codes.frames, codes.fps) == (frames, 8.0)


def test_steps_of_length_are_a_quarter_of_a_second_and_whole_tokens() -> None:
    published = TokenizerConfig.model_construct(halves_time=(True, True), folds_time=False)
    for fps, lengths in ((16.0, (81, 77, 33, 1)), (4.0, (81, 77, 33, 1)), (32.0, (81, 73, 33, 1))):
        assert [own_length(frames, fps, published) for frames in (81, 80, 33, 4)] == list(lengths)


# Texts


class Lengths:
    """A text encoder whose tokens count the characters of a prompt."""

    dim = 3

    def __init__(self, fingerprint: str = "0" * 64, name: str = "lengths") -> None:
        self.name, self.fingerprint = name, fingerprint
        self.read: list[str] = []

    def encode(self, prompts: Sequence[str]) -> Texts:
        self.read += prompts
        return Texts(tuple(torch.full((1 + len(p) % 4, 3), float(len(p)), dtype=torch.bfloat16) for p in prompts))


def test_captions_are_kept_as_the_text_encoder_reads_them(tmp_path: Path) -> None:
    text = Lengths()
    how = maker(text=text, tag="<T> ")
    found = coded(pictures(tmp_path / "d.tar"), how, tmp_path / "codes")
    assert set(text.read) == {"", "<T> a grey", *(f"<T> grey {n}" for n in range(5))}
    for which, prompt in ((0, "<T> grey 0"), (1, "<T> a grey"), (None, "")):
        tokens = text_tokens(found[0], which, text, "<T> ")
        assert tokens is not None
        assert torch.equal(tokens, text.encode([prompt]).tokens[0])
    for encoder, tag, said in (
        (Lengths(name="other"), "<T> ", "and the recipe has other and '<T> '"),
        (text, "", "and the recipe has lengths and ''"),
        (Lengths("1" * 64), "<T> ", "read by another lengths (000000000000) than the recipe's (111111111111)"),
    ):
        with pytest.raises(ModelMismatchError, match=re.escape(said)):
            text_tokens(found[0], 0, encoder, tag)
    with pytest.raises(BadInputError, match="unreadable captions"):
        text_tokens(found[0], 7, text, "<T> ")
    plain = coded(pictures(tmp_path / "d.tar"), maker(), tmp_path / "plain")
    assert text_tokens(plain[0], 0, text, "") is None


@pytest.mark.parametrize("offsets", [[0, 2**60], [5, -1], [-3, 9], [9, 3], [0, 10**30]])
def test_texts_that_claim_what_is_not_theirs_are_damaged(tmp_path: Path, offsets: list[int]) -> None:
    entry = {"dtype": "F32", "shape": [2, 3], "data_offsets": offsets}
    header = json.dumps({"__metadata__": {"text_encoder": "lengths", "tag": ""}, "0": entry}).encode()
    path = tmp_path / "a.text.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(24))
    sample = Sample("a", bytes, more={TEXT: FilePart(path, 0, path.stat().st_size)})
    with pytest.raises(BadInputError, match="unreadable captions"):
        text_tokens(sample, 0, Lengths(), "")
    entry["data_offsets"] = [0, 24]
    header = json.dumps({"__metadata__": {"text_encoder": "lengths", "tag": ""}, "0": entry}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(24))
    found = text_tokens(Sample("a", bytes, more={TEXT: FilePart(path, 0, path.stat().st_size)}), 0, Lengths(), "")
    assert found is not None
    assert found.shape == (2, 3)
