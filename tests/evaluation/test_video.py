"""Frame pairs: streamed in groups, named for what they are, sensitive to motion."""

import numpy as np
import pytest
import torch

from grn.errors import BadInputError
from grn.evaluation import video
from grn.evaluation.frechet import frechet_distance


class MeanColour:
    name, dim = "mean colour", 3

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.mean((2, 3))


def clip(levels: list[int]) -> list[np.ndarray]:
    return [np.full((4, 4, 3), level, np.uint8) for level in levels]


def test_pairs_are_a_frame_and_the_change_also_across_groups(monkeypatch):
    monkeypatch.setattr(video, "_AT_ONCE", 2)
    levels = [0, 51, 255, 102, 0]
    found = torch.cat(list(video.pair_features(iter(clip(levels)), MeanColour())))
    values = torch.tensor(levels) / 127.5 - 1
    torch.testing.assert_close(found[:, 0], values[:-1])
    torch.testing.assert_close(found[:, 3], values.diff())
    assert found.shape == (4, 6)


def test_reversing_time_changes_the_distance_though_the_frames_are_the_same():
    rise, fall = clip(list(range(0, 250, 7))), clip(list(range(0, 250, 7))[::-1])
    forward, again, backward = (video.gather_clips([c], MeanColour()) for c in (rise, rise, fall))
    assert forward.network == "mean colour, frame pairs"
    assert forward.count == 35
    assert frechet_distance(forward, again) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(forward, backward) > 0.01


def test_still_pictures_are_refused():
    with pytest.raises(BadInputError, match="0 pairs"):
        video.gather_clips([clip([1]), clip([2])], MeanColour())
