"""What tests of model names share."""

from pathlib import Path

import pytest

from grn.models import store


@pytest.fixture
def nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names lead into the test's folder only, and never over the network."""
    monkeypatch.setenv("GRN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(store, "EMBEDDED", tmp_path / "embedded")
    monkeypatch.chdir(tmp_path)
