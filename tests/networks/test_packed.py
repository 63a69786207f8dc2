"""Maps of different sizes and lengths in one sequence: the same logits and gradients as one at a time."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from grn.networks.condition import TextCondition
from grn.networks.generator_config import TextAttention, TextToVisualConfig
from grn.networks.packed import BlockwiseAttention
from grn.networks.text_to_visual import TextToVisual

SHAPES = [(1, 2, 2), (3, 4, 2), (1, 2, 6), (2, 2, 2)]
LENGTHS = [3, 1, 5, 2]


def network(patch: int, target: Any = "ind", attention: TextAttention = "one-way") -> TextToVisual:
    torch.manual_seed(0)
    made = TextToVisual(TextToVisualConfig.tiny(target, patch, attention)).double()
    for name, parameter in made.named_parameters():
        nn.init.normal_(parameter, mean=1.0 if "norm" in name else 0.0, std=0.3)
    return made


def samples(config: TextToVisualConfig) -> tuple[list[Tensor], Tensor, list[TextCondition]]:
    random = torch.Generator().manual_seed(1)
    maps = [torch.randint(-1, config.classes, (*shape, config.elements), generator=random) for shape in SHAPES]
    texts = [
        TextCondition(
            torch.randn(1, length, config.text_width, generator=random, dtype=torch.float64),
            torch.ones(1, length, dtype=torch.bool),
        )
        for length in LENGTHS
    ]
    return maps, torch.rand(len(maps), generator=random, dtype=torch.float64), texts


@pytest.mark.parametrize("attention", ["one-way", "joint"])
@pytest.mark.parametrize(("patch", "target"), [(1, "ind"), (2, "bit")])
def test_packed_is_one_at_a_time_gradients_included(patch: int, target: str, attention: TextAttention) -> None:
    made = network(patch, target, attention)
    maps, ratios, texts = samples(made.config)
    together = made.packed(maps, ratios, made.prepare(TextCondition.cat(texts)))
    weights = [torch.randn(one.shape, generator=torch.Generator().manual_seed(2)) for one in together]
    sum((one * weight).sum() for one, weight in zip(together, weights, strict=True)).backward()  # type: ignore[union-attr]
    gradients = {name: p.grad.clone() for name, p in made.named_parameters() if p.grad is not None}
    made.zero_grad()
    for i, (one, weight) in enumerate(zip(maps, weights, strict=True)):
        alone = made(one[None], ratios[i : i + 1], made.prepare(texts[i]))[0]
        assert alone.shape == together[i].shape
        torch.testing.assert_close(together[i], alone, atol=1e-5, rtol=1e-5)
        (alone * weight).sum().backward()
    assert len(gradients) == len(list(made.parameters()))
    for name, parameter in made.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("attention", ["one-way", "joint"])
def test_samples_do_not_see_each_other(attention: TextAttention) -> None:
    made = network(1, attention=attention)
    maps, ratios, texts = samples(made.config)
    before = made.packed(maps, ratios, made.prepare(TextCondition.cat(texts)))
    maps[1], ratios[1] = (maps[1] + 1) % made.config.classes, 0.9
    texts[1] = TextCondition(texts[1].tokens + 1, texts[1].mask)
    after = made.packed(maps, ratios, made.prepare(TextCondition.cat(texts)))
    for i in range(4):
        assert torch.equal(before[i], after[i]) == (i != 1)


def test_equal_maps_packed_are_the_batch() -> None:
    made = network(1)
    random = torch.Generator().manual_seed(3)
    maps = torch.randint(4, (3, 2, 2, 4, made.config.elements), generator=random)
    texts = made.prepare(TextCondition.cat(samples(made.config)[2][:3]))
    ratios = torch.tensor([0.1, 0.5, 0.8], dtype=torch.float64)
    packed = torch.stack(made.packed(list(maps), ratios, texts))
    torch.testing.assert_close(packed, made(maps, ratios, texts), atol=1e-5, rtol=1e-5)


def _parts(seed: int, size: int = 16) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    visual = [torch.randn(1, 2, 30, size, generator=random) for _ in range(3)]
    return [*visual, *[torch.randn(1, 2, 11, size, generator=random) for _ in range(2)]]


@pytest.mark.parametrize(
    ("text", "visual"),
    [
        ([3, 1, 5], [200, 30, 300]),
        ([130, 0, 1], [128, 256, 1]),
        ([0] * 40, [7] * 40),
        ([77] * 9, [1024] * 9),
        ([5], [3]),
    ],
)
def test_blocks_are_those_of_the_matrix_of_pairs(text: list[int], visual: list[int]) -> None:
    mask = BlockwiseAttention(text, visual, torch.device("cpu"), flex=True).mask
    own, words = (torch.repeat_interleave(torch.arange(len(n)), torch.tensor(n)) for n in (visual, text))
    pairs = own[:, None] == torch.cat([words, own])
    rows, columns = (-(-n // 128) for n in pairs.shape)
    padded = nn.functional.pad(pairs, (0, columns * 128 - pairs.shape[1], 0, rows * 128 - pairs.shape[0]))
    blocks = padded.view(rows, 128, columns, 128).sum((1, 3))
    looked_at = mask.to_dense()[0, 0].bool()
    assert (looked_at | (blocks == 0)).all()
    # Besides those with pairs, at most the column in which the texts end and the samples begin.
    assert (looked_at & (blocks == 0)).sum() <= rows
    for row in range(rows):
        whole = mask.full_kv_indices[0, 0, row, : mask.full_kv_num_blocks[0, 0, row]]
        assert (blocks[row, whole] == 128 * 128).all()
    assert mask.full_kv_num_blocks.sum() == (blocks == 128 * 128).sum()


def test_a_long_sequence_makes_no_matrix_of_pairs() -> None:
    """Of 400,000 tokens it would take 160 GB."""
    mask = BlockwiseAttention([100] * 100, [4000] * 100, torch.device("cpu"), flex=True).mask
    assert mask.sparsity() > 98


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_is_cutting_the_samples_out() -> None:
    query, key, value, *text = _parts(0)
    lengths = ([3, 1, 5, 2], [4, 9, 12, 5])
    plain = BlockwiseAttention(*lengths, torch.device("cpu"))
    flex = BlockwiseAttention(*lengths, torch.device("cpu"), flex=True)
    assert plain.mask is None
    assert flex.mask is not None
    given = (query, key, value, (text[0], text[1]))
    torch.testing.assert_close(flex(*given), plain(*given), atol=1e-5, rtol=1e-5)
    alone = [BlockwiseAttention([0, 0, 0], [9, 6, 15], torch.device("cpu"), flex=flex) for flex in (False, True)]
    torch.testing.assert_close(*(attend(query, key, value, None) for attend in alone), atol=1e-5, rtol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_flex_attention_on_a_gpu_with_gradients() -> None:
    results = []
    for flex in (False, True):
        parts = [part.cuda().requires_grad_() for part in _parts(1, 64)]
        attend = BlockwiseAttention([3, 1, 5, 2], [4, 9, 12, 5], torch.device("cuda"), flex)
        out = attend(parts[0], parts[1], parts[2], (parts[3], parts[4]))
        out.square().sum().backward()
        results.append([out, *[part.grad for part in parts]])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-2, rtol=1e-2)
