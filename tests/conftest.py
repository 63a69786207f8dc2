"""What all tests share: one thread a worker, settings of their own, and tiny models, a clip in several containers."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is imported: a worker for each core, not each worker for all cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="session")
def _settings_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the user has set for grn, the hub or the terminal is not tested, and no test asks the network."""
    changed = pytest.MonkeyPatch()
    for name in ("GRN_MODEL", "GRN_DEBUG", "HF_TOKEN", "NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        changed.delenv(name, raising=False)
    changed.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    # In float32 the same is the same on every processor.
    changed.setattr("grn.devices.multiplies_bfloat16", lambda: False)
    changed.setenv("GRN_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    changed.undo()


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that draws 64x64 pictures from a few words (see helpers/generators.py)."""
    from helpers.generators import text_model

    return text_model(tmp_path_factory.mktemp("generators") / "tiny-words")


@pytest.fixture(scope="session")
def clips_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that draws clips of 9 frames of 64x64, 4 a second, from a few words."""
    from helpers.generators import CLIP, text_model

    return text_model(tmp_path_factory.mktemp("generators") / "tiny-clips", length=CLIP)


@pytest.fixture(scope="session")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that draws 64x64 pictures of five classes."""
    from helpers.generators import class_model

    return class_model(tmp_path_factory.mktemp("generators") / "tiny-classes")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MP4 of numbered frames (see helpers/clips.py)."""
    from helpers.clips import write

    return write(tmp_path_factory.mktemp("clips") / "clip.mp4")


@pytest.fixture(scope="session")
def copies(clip: Path) -> dict[str, Path]:
    """The same stream in other containers; `tail.mp4` has its index at the end."""
    from helpers.clips import run_ffmpeg

    made = {"faststart.mp4": clip}
    for name in ("tail.mp4", "a.mkv", "a.ts", "a.avi", "a.mov"):
        made[name] = clip.with_name(name)
        run_ffmpeg("-i", clip, "-c", "copy", made[name])
    return made


@pytest.fixture
def nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names lead into the test's folder only, and never over the network."""
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("grn.hub.resolve.EMBEDDED", tmp_path / "embedded")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub cache with all the published files, small; tests only read it."""
    from helpers.published_files import hub_cache

    place = tmp_path_factory.mktemp("hub")
    hub_cache(place)
    return place


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, published: Path) -> Iterator[Path]:
    """A machine whose hub cache has all the published files; what is converted stays for the other tests."""
    place = tmp_path_factory.mktemp("machine")
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("GRN_CACHE", str(place / "grn"))
        changed.setenv("HF_HUB_OFFLINE", "1")
        changed.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(published))
        yield place
