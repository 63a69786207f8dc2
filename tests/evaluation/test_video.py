"""Frame pairs: streamed in groups, named for what they are, sensitive to motion; and how much clips move."""

from typing import Any

import numpy as np
import pytest
import torch

from grn.errors import BadInputError, ModelNotFoundError
from grn.evaluation import video
from grn.evaluation.frechet import Statistics, frechet_distance
from grn.evaluation.video import Motion, compare_motion, measure_motion
from grn.features.i3d import I3dFeatures


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


def statistics(clips: list[list[np.ndarray]], network: Any, length: int = 0) -> Statistics:
    blocks = [video.measure_clips([clip], network, length) for clip in clips]
    return video.clips_statistics(blocks, network, length)


def test_reversing_time_changes_the_distance_though_the_frames_are_the_same():
    rise, fall = clip(list(range(0, 250, 7))), clip(list(range(0, 250, 7))[::-1])
    forward, again, backward = (statistics([c], MeanColour()) for c in (rise, rise, fall))
    assert forward.network == "mean colour, frame pairs"
    assert forward.count == 35
    assert frechet_distance(forward, again) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(forward, backward) > 0.01


def test_blocks_of_long_clips_are_as_large_as_those_of_short_ones() -> None:
    rise = clip(list(range(0, 250, 7)))
    long, short = (video.measure_clips([c], MeanColour(), 0) for c in (rise, rise[:5]))
    assert {name: value.shape for name, value in long.items()} == {"count": (), "mean": (6,), "scatter": (6, 6)}
    assert {name: value.shape for name, value in short.items()} == {"features": (4, 6)}
    found, plain = statistics([rise, rise[:5]], MeanColour()), torch.cat([
        torch.cat(list(video.pair_features(iter(c), MeanColour()))) for c in (rise, rise[:5])
    ])  # fmt: skip
    torch.testing.assert_close(found.covariance, plain.double().T.cov())


def test_still_pictures_are_refused():
    with pytest.raises(BadInputError, match="0 pairs"):
        statistics([clip([1]), clip([2])], MeanColour())


def still(level: int, count: int = 3) -> list[np.ndarray]:
    return [np.full((4, 5, 3), level, np.uint8)] * count


def test_stills_do_not_move() -> None:
    assert measure_motion([still(7), still(200)]) == Motion(2, 4, 0, 0)


def test_differences_and_shares_are_means_over_pairs() -> None:
    moved = np.zeros((4, 5, 3), np.uint8)
    moved[:2] = 40  # half of the pixels
    faint = np.full((4, 5, 3), 7, np.uint8)  # below the threshold
    blue = np.zeros((4, 5, 3), np.uint8)
    blue[..., 2] = 8  # one colour is enough
    black = np.zeros((4, 5, 3), np.uint8)
    found = measure_motion([[black, moved, black], [black, faint], [blue, black]])
    assert (found.clips, found.pairs) == (3, 4)
    assert found.difference == pytest.approx((20 + 20 + 7 + 8 / 3) / 4)
    assert found.moving == pytest.approx((0.5 + 0.5 + 0 + 1) / 4)


def test_flicker_is_what_moves_where_the_data_stand_still() -> None:
    black = np.zeros((4, 5, 3), np.uint8)
    top, corner = black.copy(), black.copy()
    top[:2] = 40
    corner[3, 4] = 40
    everywhere = np.full_like(black, 40)
    drawn = [[black, corner, corner + top, black], [black, everywhere], still(9, 2)]
    real = [[black, black, top, top], [black, everywhere], [top]]  # still: the lower half, nothing, unknown
    found, wanted = compare_motion(zip(drawn, real, strict=True))
    assert found.flicker == pytest.approx((1 + 0 + 1) / (3 * 10))
    assert wanted == measure_motion(real)
    assert wanted.flicker is None


def test_clips_of_one_frame_say_nothing() -> None:
    assert measure_motion([still(1, 1), still(1, 2)]).pairs == 1
    with pytest.raises(BadInputError, match="no two frames in a row"):
        measure_motion([still(1, 1)])


class Motionless(torch.nn.Module):
    """Takes clips of 224 pixels in [-1, 1]."""

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        assert clips.shape[3] == 224
        assert clips.shape[4] == 224
        return torch.cat([clips.mean((2, 3, 4)), clips.std(2).mean((2, 3))], 1)


class Published(torch.nn.Module):
    """Takes bytes as the published file does."""

    def forward(
        self, x: torch.Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False
    ) -> torch.Tensor:
        assert rescale
        assert resize
        assert return_features
        return x.mean((2, 3, 4))


def test_fvd_is_of_whole_clips_and_says_how_they_were_taken(tmp_path):
    torch.jit.save(torch.jit.script(Motionless()), tmp_path / "net.pt")
    network = I3dFeatures(tmp_path / "net.pt")
    still, moving = clip([100] * 40), clip([0, 200] * 20)
    same = statistics([still, clip([90] * 23)], network, 10)
    assert (same.count, same.network, same.preparation) == (6, "I3D", "clips of 10 frames, 224x224 pixels, bilinear")
    other = statistics([moving], network, 10)
    assert frechet_distance(same, same) < 1e-6
    assert frechet_distance(same, other) > 0.1
    assert [len(one) for one in video.windows(iter(clip([0] * 25)), 10)] == [10, 10]
    with pytest.raises(BadInputError, match="hold 1 clips of 30 frames"):
        statistics([still], network, 30)


def test_the_published_file_is_given_bytes(tmp_path):
    torch.jit.save(torch.jit.script(Published()), tmp_path / "i3d.pt")
    network = I3dFeatures(tmp_path / "i3d.pt")
    assert network.preparation == "224x224 pixels, by the network"
    clips = torch.full((2, 3, 9, 16, 16), -1.0)
    clips[1] = 1
    torch.testing.assert_close(network(clips), torch.tensor([[0.0] * 3, [255.0] * 3]))
    with pytest.raises(ModelNotFoundError, match="no such file"):
        I3dFeatures(tmp_path / "none.pt")
