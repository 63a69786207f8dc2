"""Model folders: written whole, resolved by name, loaded strictly."""

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from grn.errors import ConfigError, EnvironmentFaultError, GrnError, ModelMismatchError, ModelNotFoundError
from grn.models import registry, store
from grn.tokenizer.config import TokenizerConfig
from grn.tokenizer.network import CausalAutoencoder
from grn.tokenizer.tokenizer import Tokenizer, save_tokenizer

TOKENIZER = {"kind": "tokenizer", "name": "small", "network": {}}
GENERATOR = {"kind": "text-to-visual", "name": "large", "network": {}}
WEIGHTS = "model.safetensors"


@pytest.fixture(autouse=True)
def _nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names lead into the test's folder only, and never over the network."""
    monkeypatch.setenv("GRN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(store, "EMBEDDED", tmp_path / "embedded")
    monkeypatch.chdir(tmp_path)


def layer(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def saved(folder: Path, dtype: torch.dtype = torch.float32, config: dict | None = None) -> nn.Module:
    module = layer()
    store.save_model(folder, config or TOKENIZER, module.state_dict(), dtype, "card")
    return module


def edit(folder: Path, **changes: object) -> None:
    """Change config.json; a value of None removes the key."""
    config = {**json.loads((folder / "config.json").read_text()), **changes}
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def reseal(folder: Path) -> None:
    """Make config.json vouch for the weights as they are."""
    edit(folder, weights_sha256=store.sha256(folder / WEIGHTS))


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("own", [torch.float32, torch.float64, torch.bfloat16])
def test_weights_come_back_in_the_networks_own_type(stored: torch.dtype, own: torch.dtype, tmp_path: Path) -> None:
    module = saved(tmp_path / "m", stored)
    loaded = layer(1).to(own)
    fingerprint = store.load_weights(loaded, tmp_path / "m")
    assert fingerprint == store.sha256(tmp_path / "m" / WEIGHTS)
    assert fingerprint == store.load_config(tmp_path / "m")["weights_sha256"]
    for name, value in loaded.state_dict().items():
        original = module.state_dict()[name]
        assert torch.equal(value, original.to(stored).to(own) if original.is_floating_point() else original)


def test_the_file_is_what_other_readers_expect(tmp_path: Path) -> None:
    state = {
        "odd": torch.arange(3, dtype=torch.uint8), "wide": torch.randn(2, 5), "empty": torch.empty(0, 4),
        "one": torch.tensor(3), "turned": torch.randn(4, 3).T, "flags": torch.tensor([True, False]),
    }  # fmt: skip
    store.save_model(tmp_path / "m", TOKENIZER, state, torch.float32)
    read = load_file(tmp_path / "m" / WEIGHTS)
    assert read.keys() == state.keys()
    for name, value in state.items():
        assert torch.equal(read[name], value)
    with (tmp_path / "m" / WEIGHTS).open("rb") as file:
        assert struct.unpack("<Q", file.read(8))[0] % 8 == 0


def test_equal_models_are_equal_bytes_whatever_the_order(tmp_path: Path) -> None:
    state = layer().state_dict()
    store.save_model(tmp_path / "a", TOKENIZER, state, torch.bfloat16, "card")
    store.save_model(tmp_path / "b", TOKENIZER, dict(reversed(state.items())), torch.bfloat16, "card")
    for name in ("config.json", WEIGHTS, "README.md"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (tmp_path / "a" / "README.md").read_text() == "card"
    assert store.load_config(tmp_path / "a")["format_version"] == store.FORMAT_VERSION


def test_a_folder_that_is_there_keeps_what_else_it_holds(tmp_path: Path) -> None:
    saved(tmp_path / "m")
    (tmp_path / "m" / "tokenizer").mkdir()
    state = layer(1).state_dict()
    store.save_model(tmp_path / "m", TOKENIZER, state, torch.float32)
    module = layer(2)
    store.load_weights(module, tmp_path / "m")
    assert torch.equal(module.state_dict()["0.weight"], state["0.weight"])
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["README.md", "config.json", WEIGHTS, "tokenizer"]


@pytest.mark.parametrize("existing", [False, True])
def test_a_failed_save_leaves_nothing_behind(existing: bool, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    if existing:
        saved(folder)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(ModelMismatchError, match="too large for float16"):
        store.save_model(folder, TOKENIZER, {"a": torch.full((2,), 1e6)}, torch.float16)
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
    store.load_weights(layer(), tmp_path / "m")
    spoil(tmp_path / "m")
    with pytest.raises(ModelMismatchError) as caught:
        store.load_weights(layer(), tmp_path / "m")
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "m"))
    assert says in message
    assert "\n" not in message


def test_values_that_are_not_finite_load_only_where_allowed(tmp_path: Path) -> None:
    saved(tmp_path / "m")
    MISMATCHES["not a number"][0](tmp_path / "m")
    module = layer()
    store.load_weights(module, tmp_path / "m", allow_nonfinite=True)
    assert module.state_dict()["0.weight"].isnan().sum() == 1


def test_a_mismatch_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    saved(tmp_path / "m")
    MISMATCHES["missing"][0](tmp_path / "m")
    module = layer(5)
    with pytest.raises(ModelMismatchError):
        store.load_weights(module, tmp_path / "m")
    assert torch.equal(module.state_dict()["0.weight"], layer(5).state_dict()["0.weight"])


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    saved(tmp_path / "m", torch.bfloat16)
    bits = 8 * (tmp_path / "m" / WEIGHTS).stat().st_size
    silent = 0
    for bit in range(0, bits, max(1, bits // 300)):
        _flip(tmp_path / "m", bit)
        with pytest.raises(ModelMismatchError):
            store.load_weights(layer(), tmp_path / "m")
        try:  # the canary: the format itself does not notice
            with safe_open(tmp_path / "m" / WEIGHTS, "pt") as file:
                silent += set(file.keys()) == set(layer().state_dict())
        except Exception:
            pass
        _flip(tmp_path / "m", bit)
    assert silent > 20
    store.load_weights(layer(), tmp_path / "m")


_DEEP = "[" * 100_000
CONFIGS: dict[str, tuple[str, type[GrnError], str]] = {
    "empty": ("", ConfigError, "not a JSON document"),
    "cut": ('{"kind": "tok', ConfigError, "not a JSON document"),
    "bytes": ("\udcff", ConfigError, "not a JSON document"),
    "deep": (_DEEP, ConfigError, "not a JSON document"),
    "not finite": ('{"format_version": NaN}', ConfigError, "NaN is not a number"),
    "a list": ("[1]", ConfigError, "expected an object, found list"),
    "no version": ('{"kind": "tokenizer"}', ConfigError, "format_version: expected 1 to 1, found None"),
    "a version that is none": ('{"format_version": true}', ConfigError, "found True"),
    "a newer version": ('{"format_version": 2, "new": 1}', ConfigError, "version 2 and this grn reads up to version 1"),
    "no kind": ('{"format_version": 1}', ConfigError, "kind: expected a string, found None"),
    "no network": ('{"format_version": 1, "kind": "a", "name": "b", "network": 3}', ConfigError, "network: expected"),
    "too large": (" " * (1 << 21), ConfigError, "too large"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "kind", "says"), CONFIGS.values(), ids=CONFIGS.keys())
def test_a_bad_config_is_refused(text: str, kind: type[GrnError], says: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(kind) as caught:
        store.load_config(tmp_path)
    assert says in str(caught.value)
    assert str(tmp_path / "config.json") in str(caught.value)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


NETWORKS = {
    "unknown key": ({"chanels": 4}, "unknown key 'chanels'; did you mean 'channels'?"),
    "negative": ({"channels": -1}, "channels: "),
    "a wrong type": ({"channels": "many"}, "channels: "),
    "huge": ({"encoder_blocks": 10**9}, "encoder_blocks: "),
    "stages": ({"halves_time": [True]}, "halves_time has 1 entries"),
}


@pytest.mark.parametrize(("network", "says"), NETWORKS.values(), ids=NETWORKS.keys())
def test_a_bad_network_is_refused_before_it_is_built(network: dict, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        store.network_config({"network": network}, TokenizerConfig, tmp_path)
    assert says in str(caught.value)
    assert str(tmp_path / "config.json") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_config_round_trips(tmp_path: Path) -> None:
    config = TokenizerConfig.tiny()
    saved(tmp_path / "m", config={**TOKENIZER, "network": config.model_dump(mode="json")})
    assert store.network_config(store.load_config(tmp_path / "m"), TokenizerConfig, tmp_path / "m") == config


def _pipeline(folder: Path) -> None:
    saved(folder, config=GENERATOR)
    saved(folder / "tokenizer")


def _snapshot(tmp_path: Path, name: str = "someone/model") -> Path:
    """A hub cache as huggingface_hub lays it out."""
    repo = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("1" * 40)
    return repo / "snapshots" / ("1" * 40)


def test_names_are_found_in_order(tmp_path: Path) -> None:
    _pipeline(tmp_path / "embedded" / "emoji")
    _pipeline(tmp_path / "emoji")
    _pipeline(tmp_path / "mine")
    _pipeline(_snapshot(tmp_path))
    _pipeline(tmp_path / "home" / "models" / "grn-b")
    found = {
        name: (r.source, r.folder)
        for name in ("emoji", "emoji-tokenizer", "./emoji", "mine", str(tmp_path / "mine"), "someone/model", "grn-b")
        for r in [store.resolve(name)]
    }
    assert found == {
        "emoji": ("embedded", tmp_path / "embedded" / "emoji"),
        "emoji-tokenizer": ("embedded", tmp_path / "embedded" / "emoji" / "tokenizer"),
        "./emoji": ("folder", Path("emoji")),
        "mine": ("folder", Path("mine")),
        str(tmp_path / "mine"): ("folder", tmp_path / "mine"),
        "someone/model": ("hub cache", _snapshot_path(tmp_path)),
        "grn-b": ("converted", tmp_path / "home" / "models" / "grn-b"),
    }
    _pipeline(tmp_path / "someone" / "model")  # a folder comes before the hub
    assert store.resolve("someone/model").source == "folder"


def _snapshot_path(tmp_path: Path) -> Path:
    return tmp_path / "hub" / "models--someone--model" / "snapshots" / ("1" * 40)


def test_the_tokenizer_of_a_generators_folder_is_found(tmp_path: Path) -> None:
    _pipeline(tmp_path / "mine")
    assert store.resolve("mine", kind="tokenizer").folder == Path("mine/tokenizer")
    assert store.resolve("mine", kind="generator").folder == Path("mine")
    assert store.resolve("mine/tokenizer", kind="tokenizer").folder == Path("mine/tokenizer")


_PUBLISHED = ("grn-b: weights are not here", "models/grn-b", "GRN_ind_B_ep599.pth", "--offline")
NOT_FOUND: dict[str, tuple[str, str | None, type[GrnError], tuple[str, ...]]] = {
    "a misspelt name": ("emojj", None, ModelNotFoundError, ("emojj", "did you mean emoji")),
    "a misspelt tokenizer": ("emoji-tokeniser", "tokenizer", ModelNotFoundError, ("did you mean emoji-tokenizer",)),
    "an unlike name": ("xyzzy", "tokenizer", ModelNotFoundError, ("known names: ", "hbq-16", "emoji-tokenizer")),
    "embedded but not there": ("emoji", None, ModelNotFoundError, ("not here", "embedded/emoji", "install")),
    "published": ("grn-b", None, ModelNotFoundError, _PUBLISHED),
    "never published": ("grn-g", None, ModelNotFoundError, ("grn-g: weights are not here", "published none")),
    "a hub name": ("some/thing", None, ModelNotFoundError, ("some/thing", "hub", "--offline")),
    "a path that is not there": ("./no/such", None, ModelNotFoundError, ("./no/such",)),
    "a file": ("file.pth", None, ModelNotFoundError, ("file.pth: is a file", "grn models pull")),
    "an empty folder": ("empty", None, ModelNotFoundError, ("holds no config.json",)),
    "a run folder": ("run", None, ModelNotFoundError, ("did you mean", "run/final")),
    "a tokenizer for a generator": ("small", "generator", ModelMismatchError, ("is a tokenizer", "grn-b")),
    "a generator alone": ("alone", "tokenizer", ModelMismatchError, ("without a tokenizer", "hbq-16")),
    "a terminal code": ("\x1b[31mred", None, ModelNotFoundError, ("\\x1b[31mred",)),
}  # fmt: skip


@pytest.mark.parametrize(("name", "kind", "error", "says"), NOT_FOUND.values(), ids=NOT_FOUND.keys())
def test_what_is_not_found_says_where_it_was_looked_for(
    name: str, kind: str | None, error: type[GrnError], says: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "file.pth").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    saved(tmp_path / "run" / "final")
    saved(tmp_path / "small")
    saved(tmp_path / "alone", config=GENERATOR)
    with pytest.raises(error) as caught:
        store.resolve(name, kind=kind)
    for part in says:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_snapshot_that_was_cut_short_is_not_used(tmp_path: Path) -> None:
    saved(_snapshot(tmp_path))
    (_snapshot_path(tmp_path) / WEIGHTS).unlink()
    with pytest.raises(ModelNotFoundError):
        store.resolve("someone/model")


@pytest.mark.parametrize(("offline", "variable"), [(True, ""), (False, "1"), (False, "true")])
def test_offline_never_asks_the_hub(offline: bool, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setenv("HF_HUB_OFFLINE", variable)
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda *_, local_files_only, **__: _ask(asked, local_files_only)
    )
    monkeypatch.setattr(
        "huggingface_hub.hf_hub_download", lambda *_, local_files_only, **__: _ask(asked, local_files_only)
    )
    for name in ("some/thing", "grn-b"):
        with pytest.raises(ModelNotFoundError):
            store.resolve(name, offline=offline)
    assert asked == [True, True]


def _ask(asked: list[bool], local: bool) -> str:
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked.append(local)
    raise LocalEntryNotFoundError("not in the cache")


@pytest.mark.parametrize("caused", [False, True])
def test_a_network_that_fails_is_the_machines_fault(caused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    def download(*_: object, local_files_only: bool, **__: object) -> str:
        if local_files_only:
            raise LocalEntryNotFoundError("not in the cache")
        if caused:
            raise LocalEntryNotFoundError("cannot find it") from ConnectionError("no route\nto host")
        raise ConnectionError("no route\nto host")

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(EnvironmentFaultError, match="no route to host"):
        store.resolve("some/thing")


def test_what_the_hub_lacks_lists_the_hub_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def download(*_: object, local_files_only: bool, **__: object) -> str:
        return _ask([], local_files_only) if local_files_only else str(tmp_path)  # a repository without a model in it

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(ModelNotFoundError, match=r"huggingface\.co/some/thing"):
        store.resolve("some/thing")


def test_a_tokenizer_goes_to_a_folder_and_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = CausalAutoencoder(TokenizerConfig.tiny())
    save_tokenizer(tmp_path / "tok", network, "mine", torch.float32)
    loaded = Tokenizer.from_pretrained(tmp_path / "tok")
    assert (loaded.name, loaded.config) == ("mine", network.config)
    pixels = torch.rand(1, 3, 1, 32, 48) * 2 - 1
    assert torch.equal(loaded.features(pixels), network.encode(pixels))


def test_the_default_model_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRN_MODEL", raising=False)
    assert registry.default_model() == "emoji"
    monkeypatch.setenv("GRN_MODEL", "./mine")
    assert registry.default_model() == "./mine"
