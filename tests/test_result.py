"""Results: pictures and clips, what they say of themselves, and as files."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from grn.errors import UsageError
from grn.media import open_media, read_image, read_image_text
from grn.refine.config import SamplerConfig
from grn.result import Made, Result

MADE = Made("emoji", "a dog", SamplerConfig(guidance=2.5), "float32", "cpu")


def result(frames: int = 1, fps: float | None = None) -> Result:
    shown = np.random.default_rng(0).integers(0, 256, (frames, 32, 48, 3), np.uint8)
    return Result(shown, "a cat", 7, 12, 0.25, fps, MADE)


def test_pictures_of_a_result() -> None:
    one, clip = result(), result(5, 4.0)
    assert isinstance(one.image, Image.Image)
    assert one.image.size == (48, 32)
    assert np.array_equal(np.asarray(clip.image), clip.frames[0])
    assert [np.asarray(image).tobytes() for image in clip.images] == [frame.tobytes() for frame in clip.frames]
    assert "frames" not in repr(one)


def test_the_record_is_json_of_everything() -> None:
    record = json.loads(json.dumps(result().record))
    assert record == {
        "prompt": "a cat",
        "negative_prompt": "a dog",
        "seed": 7,
        "model": "emoji",
        "width": 48,
        "height": 32,
        "steps": 12,
        "entropy": 0.25,
        "dtype": "float32",
        "device": "cpu",
        "sampling": SamplerConfig(guidance=2.5).model_dump(mode="json"),
    }
    assert {"frames": 5, "fps": 4.0}.items() <= result(5, 4.0).record.items()


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.bmp"])
def test_a_picture_is_saved_by_its_suffix(tmp_path: Path, name: str) -> None:
    result().save(tmp_path / name)
    assert np.array_equal(read_image(tmp_path / name), result().frames[0])


def test_a_png_carries_the_record(tmp_path: Path) -> None:
    result().save(str(tmp_path / "a.PNG"))
    texts = read_image_text(tmp_path / "a.PNG")
    assert json.loads(texts["grn"]) == result().record
    assert texts["parameters"] == (
        "a cat\nNegative prompt: a dog\nSteps: 12, Sampler: GRN, CFG scale: 2.5, Seed: 7, Size: 48x32, Model: emoji"
    )


def test_a_clip_is_saved_with_its_rate(tmp_path: Path) -> None:
    clip = result(5, 4.0)
    clip.save(tmp_path / "a.webp")
    with open_media(tmp_path / "a.webp") as media:
        assert media.fps == pytest.approx(4.0)
        assert len(list(media)) == 5
    with pytest.raises(UsageError, match=r"a clip of 5 frames cannot be written as \.png \(expected one of \.mp4"):
        clip.save(tmp_path / "a.png")
    with pytest.raises(UsageError, match=r"a: a clip of 5 frames cannot be written as a file without suffix"):
        clip.save(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a.webp"]
