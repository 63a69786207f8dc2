"""Model folders: written whole, loaded strictly."""

import math
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.model_folders import TOKENIZER, WEIGHTS, edit, layer, load_weights, reseal, saved
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from grn.errors import EnvironmentFaultError, ModelMismatchError
from grn.files import sha256
from grn.models.folder import ModelFolder, save_model
from grn.models.tensors import write_weights
from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.autoencoder_config import TokenizerConfig
from grn.tokenizer import Tokenizer, save_tokenizer

pytestmark = pytest.mark.usefixtures("nowhere_else")


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("own", [torch.float32, torch.float64, torch.bfloat16])
def test_weights_come_back_in_the_networks_own_type(stored: torch.dtype, own: torch.dtype, tmp_path: Path) -> None:
    module = saved(tmp_path / "m", stored)
    loaded = layer(1).to(own)
    fingerprint = load_weights(loaded, tmp_path / "m")
    assert fingerprint == sha256(tmp_path / "m" / WEIGHTS)
    assert fingerprint == ModelFolder.open(tmp_path / "m").config.weights_sha256
    for name, value in loaded.state_dict().items():
        original = module.state_dict()[name]
        assert torch.equal(value, original.to(stored).to(own) if original.is_floating_point() else original)


def test_the_file_is_what_other_readers_expect(tmp_path: Path) -> None:
    state = {
        "odd": torch.arange(3, dtype=torch.uint8), "wide": torch.randn(2, 5), "empty": torch.empty(0, 4),
        "one": torch.tensor(3), "turned": torch.randn(4, 3).T, "flags": torch.tensor([True, False]),
    }  # fmt: skip
    save_model(tmp_path / "m", TOKENIZER, state, torch.float32)
    read = load_file(tmp_path / "m" / WEIGHTS)
    assert read.keys() == state.keys()
    for name, value in state.items():
        assert torch.equal(read[name], value)
    with (tmp_path / "m" / WEIGHTS).open("rb") as file:
        assert struct.unpack("<Q", file.read(8))[0] % 8 == 0


def test_equal_models_are_equal_bytes_whatever_the_order(tmp_path: Path) -> None:
    state = layer().state_dict()
    save_model(tmp_path / "a", TOKENIZER, state, torch.bfloat16, "card")
    save_model(tmp_path / "b", TOKENIZER, dict(reversed(state.items())), torch.bfloat16, "card")
    for name in ("config.json", WEIGHTS, "README.md"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (tmp_path / "a" / "README.md").read_text() == "card"
    assert ModelFolder.open(tmp_path / "a").config.format_version == 1


def test_a_folder_that_is_there_keeps_what_else_it_holds(tmp_path: Path) -> None:
    saved(tmp_path / "m")
    (tmp_path / "m" / "tokenizer").mkdir()
    state = layer(1).state_dict()
    save_model(tmp_path / "m", TOKENIZER, state, torch.float32)
    module = layer(2)
    load_weights(module, tmp_path / "m")
    assert torch.equal(module.state_dict()["0.weight"], state["0.weight"])
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["README.md", "config.json", WEIGHTS, "tokenizer"]


@pytest.mark.parametrize("existing", [False, True])
def test_a_failed_save_leaves_nothing_behind(existing: bool, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    if existing:
        saved(folder)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(ModelMismatchError, match="too large for float16"):
        save_model(folder, TOKENIZER, {"a": torch.full((2,), 1e6)}, torch.float16)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert folder.exists() == existing
    assert not list(tmp_path.glob(".grn*"))


def test_a_place_that_cannot_be_written_is_the_machines_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(EnvironmentFaultError, match="write elsewhere"):
        saved(tmp_path / "file" / "m")


def _swap(folder: Path, change: Callable[[dict], object]) -> None:
    state = load_file(folder / WEIGHTS)
    change(state)
    save_file(state, folder / WEIGHTS)
    reseal(folder)


def _cut(folder: Path, size: int) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:size])


def _flip(folder: Path, bit: int) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    (folder / WEIGHTS).write_bytes(data)


def _many(state: dict) -> None:
    state.update({f"new.{i}": torch.zeros(1) for i in range(7)})


MISMATCHES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda f: _swap(f, lambda s: s.pop("0.bias")), "1 missing: 0.bias;"),
    "unexpected": (lambda f: _swap(f, _many), "7 unexpected: new.0, new.1, new.2, new.3, new.4 and 2 more;"),
    "shape": (lambda f: _swap(f, lambda s: s.update({"0.bias": torch.zeros(5)})), "0.bias (expected [4], found [5])"),
    "type": (
        lambda f: _swap(f, lambda s: s.update({"0.bias": torch.zeros(4, dtype=torch.int32)})),
        "0.bias (expected F32, found I32)",
    ),
    "not a number": (
        lambda f: _swap(f, lambda s: s["0.weight"].view(-1)[3:4].fill_(math.nan)),
        "0.weight holds values",
    ),
    "infinite": (lambda f: _swap(f, lambda s: s["0.bias"][1:2].fill_(-math.inf)), "0.bias holds values"),
    "another file": (lambda f: save_file({"a": torch.zeros(1)}, f / WEIGHTS), "damaged or of another model"),
    "no digest": (lambda f: edit(f, weights_sha256=None), "damaged or of another model"),
    "empty": (lambda f: (_cut(f, 0), reseal(f)), "damaged safetensors"),
    "cut in the header": (lambda f: (_cut(f, 40), reseal(f)), "damaged safetensors"),
    "cut at the end": (lambda f: (_cut(f, -1), reseal(f)), "damaged safetensors"),
    "text": (lambda f: ((f / WEIGHTS).write_text("weights" * 99), reseal(f)), "damaged safetensors"),
}


@pytest.mark.parametrize(("spoil", "says"), MISMATCHES.values(), ids=MISMATCHES.keys())
def test_weights_that_do_not_fit_are_refused(spoil: Callable[[Path], object], says: str, tmp_path: Path) -> None:
    saved(tmp_path / "m")
    load_weights(layer(), tmp_path / "m")
    spoil(tmp_path / "m")
    with pytest.raises(ModelMismatchError) as caught:
        load_weights(layer(), tmp_path / "m")
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "m"))
    assert says in message
    assert "\n" not in message


def test_values_that_are_not_finite_load_only_where_allowed(tmp_path: Path) -> None:
    saved(tmp_path / "m")
    MISMATCHES["not a number"][0](tmp_path / "m")
    module = layer()
    load_weights(module, tmp_path / "m", allow_nonfinite=True)
    assert module.state_dict()["0.weight"].isnan().sum() == 1


def test_a_mismatch_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    saved(tmp_path / "m")
    MISMATCHES["missing"][0](tmp_path / "m")
    module = layer(5)
    with pytest.raises(ModelMismatchError):
        load_weights(module, tmp_path / "m")
    assert torch.equal(module.state_dict()["0.weight"], layer(5).state_dict()["0.weight"])


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    saved(tmp_path / "m", torch.bfloat16)
    bits = 8 * (tmp_path / "m" / WEIGHTS).stat().st_size
    silent = 0
    for bit in range(0, bits, max(1, bits // 300)):
        _flip(tmp_path / "m", bit)
        with pytest.raises(ModelMismatchError):
            load_weights(layer(), tmp_path / "m")
        try:  # the canary: the format itself does not notice
            with safe_open(tmp_path / "m" / WEIGHTS, "pt") as file:
                silent += set(file.keys()) == set(layer().state_dict())
        except Exception:
            pass
        _flip(tmp_path / "m", bit)
    assert silent > 20
    load_weights(layer(), tmp_path / "m")


def test_of_many_that_fill_one_folder_none_fails(tmp_path: Path) -> None:
    state, failures = {"a": torch.zeros(200_000)}, []

    def fill() -> None:
        try:
            save_model(tmp_path / "m", TOKENIZER, state, torch.float32)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=fill) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert ModelFolder.open(tmp_path / "m").config.weights_sha256 == sha256(tmp_path / "m" / WEIGHTS)


def test_another_model_that_came_first_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = write_weights

    def slow(folder: Path, *arguments: object) -> str:
        fingerprint = write(folder, *arguments)
        if not (tmp_path / "m").exists():
            monkeypatch.setattr("grn.models.folder.write_weights", write)
            save_model(tmp_path / "m", TOKENIZER, {"b": torch.ones(3)}, torch.float32)
        return fingerprint

    monkeypatch.setattr("grn.models.folder.write_weights", slow)
    with pytest.raises(EnvironmentFaultError, match="cannot be written"):
        save_model(tmp_path / "m", TOKENIZER, {"a": torch.zeros(3)}, torch.float32)
    assert load_file(tmp_path / "m" / WEIGHTS).keys() == {"b"}
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_tokenizer_goes_to_a_folder_and_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = CausalAutoencoder(TokenizerConfig.tiny())
    save_tokenizer(tmp_path / "tok", network, "mine", torch.float32)
    loaded = Tokenizer.from_pretrained(tmp_path / "tok")
    assert (loaded.name, loaded.config) == ("mine", network.config)
    pixels = torch.rand(1, 3, 1, 32, 48) * 2 - 1
    assert torch.equal(loaded.features(pixels), network.encode(pixels))
