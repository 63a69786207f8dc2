"""Model names: alias, folder, hub cache, hub, and what is said where there is none."""

import shutil
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.model_folders import GENERATOR, WEIGHTS, saved
from helpers.published_files import hub_cache, tokenizer_state

from grn.errors import EnvironmentFaultError, GrnError, ModelMismatchError, ModelNotFoundError, UsageError
from grn.hub import registry
from grn.hub.resolve import resolve

EMBEDDED = ("emoji", "emoji-tokenizer")
pytestmark = pytest.mark.usefixtures("nowhere_else")


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
    saved(tmp_path / "embedded" / "emoji-tokenizer")
    _pipeline(tmp_path / "emoji")
    _pipeline(tmp_path / "mine")
    _pipeline(_snapshot(tmp_path))
    _pipeline(tmp_path / "home" / "models" / "grn-b")
    found = {
        name: (r.source, r.folder)
        for name in (*EMBEDDED, "./emoji", "mine", str(tmp_path / "mine"), "someone/model", "grn-b")
        for r in [resolve(name)]
    }
    assert found == {
        "emoji": ("embedded", tmp_path / "embedded" / "emoji"),
        "emoji-tokenizer": ("embedded", tmp_path / "embedded" / "emoji-tokenizer"),
        "./emoji": ("folder", Path("emoji")),
        "mine": ("folder", Path("mine")),
        str(tmp_path / "mine"): ("folder", tmp_path / "mine"),
        "someone/model": ("hub cache", _snapshot_path(tmp_path)),
        "grn-b": ("converted", tmp_path / "home" / "models" / "grn-b"),
    }
    _pipeline(tmp_path / "someone" / "model")  # a folder comes before the hub
    assert resolve("someone/model").source == "folder"


def _snapshot_path(tmp_path: Path) -> Path:
    return tmp_path / "hub" / "models--someone--model" / "snapshots" / ("1" * 40)


def test_a_revision_is_a_commit_of_a_repository(tmp_path: Path) -> None:
    _pipeline(_snapshot(tmp_path))
    _pipeline(tmp_path / "mine")
    assert resolve("someone/model", revision="1" * 40).folder == _snapshot_path(tmp_path)
    with pytest.raises(ModelNotFoundError, match="someone/model"):
        resolve("someone/model", revision="2" * 40)
    with pytest.raises(UsageError, match="revision 'main': expected the 40 digits of a commit"):
        resolve("someone/model", revision="main")
    with pytest.raises(UsageError, match=r"mine is no repository of the hub \(found: folder\)"):
        resolve("mine", revision="1" * 40)


def test_the_tokenizer_of_a_generators_folder_is_found(tmp_path: Path) -> None:
    _pipeline(tmp_path / "mine")
    assert resolve("mine", kind="tokenizer").folder == Path("mine/tokenizer")
    assert resolve("mine", kind="generator").folder == Path("mine")
    assert resolve("mine/tokenizer", kind="tokenizer").folder == Path("mine/tokenizer")


_PUBLISHED = ("grn-b: weights are not here", "models/grn-b", "GRN_ind_B_ep599.pth")
NOT_FOUND: dict[str, tuple[str, str | None, type[GrnError], tuple[str, ...]]] = {
    "a misspelt name": ("emojj", None, ModelNotFoundError, ("emojj", "did you mean emoji")),
    "a misspelt tokenizer": ("emoji-tokeniser", "tokenizer", ModelNotFoundError, ("did you mean emoji-tokenizer",)),
    "an unlike name": ("xyzzy", "tokenizer", ModelNotFoundError, ("known names: ", "hbq-16", "emoji-tokenizer")),
    "embedded but not there": ("emoji", None, ModelNotFoundError, ("not here", "embedded/emoji", "install")),
    "published": ("grn-b", None, ModelNotFoundError, _PUBLISHED),
    "never published": ("grn-g", None, ModelNotFoundError, ("grn-g: weights are not here", "published none")),
    "a hub name": ("some/thing", None, ModelNotFoundError, ("some/thing", "hub")),
    "a path that is not there": ("./no/such", None, ModelNotFoundError, ("./no/such",)),
    "a file": ("file.pth", None, ModelNotFoundError, ("file.pth: is a file", "give a model folder")),
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
        resolve(name, kind=kind)
    for part in says:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_snapshot_that_was_cut_short_is_not_used(tmp_path: Path) -> None:
    saved(_snapshot(tmp_path))
    (_snapshot_path(tmp_path) / WEIGHTS).unlink()
    with pytest.raises(ModelNotFoundError):
        resolve("someone/model")


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
            resolve(name, offline=offline)
    assert asked == [True, True]  # the cache, for each


def _ask(asked: list[bool], local: bool) -> str:
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked.append(local)
    raise LocalEntryNotFoundError("not in the cache")


@pytest.mark.parametrize(
    ("name", "lack"),
    [("grn-b", "network"), ("some/thing", "network"), ("file.pth", "folder"), ("emojj", "name"), ("grn-g", "")],
)
def test_what_would_help_is_said_to_the_caller(name: str, lack: str, tmp_path: Path) -> None:
    (tmp_path / "file.pth").write_bytes(b"")
    with pytest.raises(ModelNotFoundError) as caught:
        resolve(name)
    assert (caught.value.lack, caught.value.name) == (lack, name if lack else "")


# The hub


class Hub:
    """A hub of one repository: what it lists, and the requests it had."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *files: str, fault: Exception | None = None) -> None:
        self.files, self.fault, self.asked = files, fault, 0
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.setattr("huggingface_hub.HfApi.model_info", self.model_info)

    def model_info(self, repo: str, revision: str | None, timeout: float) -> SimpleNamespace:
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=file) for file in self.files])


@pytest.mark.parametrize("fault", [ConnectionError("no route\nto host"), RuntimeError("no route to host")])
@pytest.mark.parametrize("name", ["some/thing", "grn-b"])
def test_a_network_that_fails_is_the_machines_fault(
    name: str, fault: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hub = Hub(monkeypatch, fault=fault)
    with pytest.raises(EnvironmentFaultError, match="no route to host"):
        resolve(name)
    assert hub.asked == 1  # once, not six times over half a minute
    assert not caplog.records


@pytest.mark.parametrize("silent", ["the name server", "the hub", "nobody is there"])
def test_no_network_is_known_at_once(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the client itself, which is not asked again. A name server that is silent is in no time-out of the client's."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    let_go, asked, look_up = threading.Event(), [], socket.getaddrinfo

    def slow(*arguments: Any, **options: Any) -> Any:
        asked.append(arguments[0])
        if silent == "the name server":
            let_go.wait(20)
        return look_up(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes calls, and never answers
        port = 9 if silent == "nobody is there" else server.getsockname()[1]
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://localhost:{port}")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        import huggingface_hub.hf_api  # so that only the waiting is measured

        assert huggingface_hub.HfApi().endpoint == f"http://localhost:{port}"
        start = time.monotonic()
        with pytest.raises(EnvironmentFaultError) as caught:
            resolve("grn-b")
        seconds = time.monotonic() - start
    let_go.set()
    says = "refused" if silent == "nobody is there" else "no answer within 1.5 s"
    assert says in str(caught.value)
    assert str(caught.value).endswith("; check the network and try again")
    assert "\n" not in str(caught.value)
    assert asked == ["localhost"]
    assert seconds < 10  # half of what the slow look-up takes: a busy machine may be slow to ask


def test_a_slow_network_can_be_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "30")

    def answer(*_: object, timeout: float, **__: object) -> SimpleNamespace:
        asked.append(timeout)
        return SimpleNamespace(siblings=[])

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", answer)
    with pytest.raises(ModelNotFoundError):
        resolve("grn-b")
    assert set(asked) == {30.0}


def test_what_the_hub_lacks_lists_the_hub_too(monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(monkeypatch)
    with pytest.raises(ModelNotFoundError, match=r"huggingface\.co/some/thing"):
        resolve("some/thing")


def test_a_file_that_is_gone_is_named_with_what_is_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(monkeypatch, "GRN_T2I_2B_FSA_999.pth", "HBQ_tokenizer.ckpt", "README.md")
    with pytest.raises(ModelNotFoundError) as caught:
        resolve("grn-t2i")
    for part in ("GRN_T2I_2B_FSA_251600.pth", registry.PUBLISHED_REPO, "has GRN_T2I_2B_FSA_999.pth"):
        assert part in str(caught.value)
    assert "HBQ" not in str(caught.value)
    assert caught.value.lack == "files"


def test_todays_file_is_preferred_and_a_replaced_one_is_used_where_it_is_all_there_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    today, before, first = (published.file for published in registry.ENTRIES["hbq-64"].files)
    states = {file: tokenizer_state(64, 1) for file in (today, before, first)}
    snapshot = hub_cache(tmp_path / "hub", states)
    cards = []
    for file in (today, before, first):
        resolve("hbq-64")
        cards.append((tmp_path / "home" / "models" / "hbq-64" / "README.md").read_text())
        assert f"`{file}`" in cards[-1]
        shutil.rmtree(tmp_path / "home")
        (snapshot / file).unlink()
    assert [record.message for record in caplog.records] == [
        f"hbq-64: taking {file}, which the authors have replaced by {today}" for file in (before, first)
    ]
    with pytest.raises(ModelNotFoundError):
        resolve("hbq-64")


@pytest.mark.parametrize(
    "name",
    ["", "~nobody-of-that-name/x", "a\0b", "a" * 5000, "x/" + "a" * 300, "\ud800", "a--b/c", "a/b.git", "a/..b",
     "a/b/c", "-x", "a\nb", "\u202ex/y", "$(x)/y"],
)  # fmt: skip
def test_no_name_is_too_odd_to_be_told_that_it_is_unknown(name: str) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        resolve(name)
    assert "no model of that name" in str(caught.value)
    assert str(caught.value).isprintable()


def test_the_default_model_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRN_MODEL", raising=False)
    assert registry.default_model() == "emoji"
    monkeypatch.setenv("GRN_MODEL", "./mine")
    assert registry.default_model() == "./mine"
