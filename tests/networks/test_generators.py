"""Both generator families against the published vectors, and at other sizes against plain second implementations."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.plain_generators import plain_class_to_image, plain_text_to_visual
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from grn.errors import UsageError
from grn.hub import convert, renames
from grn.models.folder import NETWORKS
from grn.networks.class_to_image import ClassToImage, PreparedClass
from grn.networks.condition import ClassCondition, TextCondition
from grn.networks.generator_config import ClassToImageConfig, TextAttention, TextToVisualConfig
from grn.networks.layers import logits_of, sum_of_columns
from grn.networks.text_to_visual import PreparedText, TextToVisual

REFERENCE = Path(__file__).parents[1] / "assets" / "reference"


def randomised(network: nn.Module, seed: int = 0) -> nn.Module:
    """Every weight drawn anew: as initialised, gates and heads are zero and would hide mistakes."""
    torch.manual_seed(seed)
    for name, parameter in network.named_parameters():
        nn.init.normal_(parameter, mean=1.0 if "norm" in name else 0.0, std=0.3 if parameter.dim() == 1 else 0.2)
    return network.double().eval()


def token_map(config: ClassToImageConfig | TextToVisualConfig, *shape: int, low: int = 0) -> Tensor:
    return torch.randint(low, config.classes, (*shape, config.elements), generator=torch.Generator().manual_seed(1))


def text(config: TextToVisualConfig, *lengths: int) -> TextCondition:
    generator = torch.Generator().manual_seed(2)
    parts = [torch.randn(1, n, config.text_width, generator=generator, dtype=torch.float64) for n in lengths]
    return TextCondition.cat([TextCondition(part, torch.ones(part.shape[:2], dtype=torch.bool)) for part in parts])


def load_published(name: str, **hints: Any) -> tuple[nn.Module, dict[str, Tensor]]:
    reference = load_file(REFERENCE / f"{name}.safetensors")
    state = {key.removeprefix("weights."): value for key, value in reference.items() if key.startswith("weights.")}
    family = convert.recognise(state)
    network = NETWORKS[family](convert.infer_config(family, state, **hints))
    network.load_state_dict(dict(renames.rename(family, state)))
    return network.eval(), reference


def stated(name: str) -> dict:
    with safe_open(REFERENCE / f"{name}.safetensors", "pt") as file:
        return json.loads(file.metadata()["config"])


@pytest.mark.parametrize("target", ["ind", "bit"])
@torch.no_grad()
def test_published_class_to_image_vectors(target: str) -> None:
    facts = stated(f"c2i_{target}")
    network, reference = load_published(f"c2i_{target}", channels=4, context_start=facts["in_context_start"])
    config = network.config
    assert (config.depth, config.width, config.heads) == (facts["depth"], facts["hidden_size"], facts["num_heads"])
    prepared = network.prepare(ClassCondition(reference["labels"]))
    logits = network(reference["tokens"].movedim(1, -1)[:, None], reference["time"], prepared)
    torch.testing.assert_close(logits[:, 0].permute(0, 4, 3, 1, 2), reference["logits"], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("target", "what", "prompt"), list(itertools.product(["ind", "bit"], ["image", "video"], ["cond", "uncond"]))
)
@torch.no_grad()
def test_published_text_to_visual_vectors(target: str, what: str, prompt: str) -> None:
    network, reference = load_published(f"t2iv_{target}", channels=4)
    words = reference[f"{what}.text_{prompt}"][None]
    prepared = network.prepare(TextCondition(words, torch.ones(words.shape[:2], dtype=torch.bool)))
    tokens = reference[f"{what}.tokens"].movedim(1, -1)
    ratio = reference[f"{what}.signal_ratio"].view(1)
    logits = network(tokens, ratio, prepared, float(reference[f"{what}.h_div_w"]))
    torch.testing.assert_close(logits.flatten(1, 3), reference[f"{what}.logits_{prompt}"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("prompt", ["cond", "uncond"])
@pytest.mark.parametrize("what", ["image", "video", "i2v"])
@torch.no_grad()
def test_published_joint_text_attention_vectors(what: str, prompt: str) -> None:
    """A given first frame is a clean one of the map; the ratio is of the others, and so are the logits."""
    network, reference = load_published("t2iv_fsa_bit", channels=4, text_attention="joint")
    words = reference[f"{what}.text_{prompt}"][None]
    prepared = network.prepare(TextCondition(words, torch.ones(words.shape[:2], dtype=torch.bool)))
    given = [reference["i2v.first_frame"]] if what == "i2v" else []
    tokens = torch.cat([*given, reference[f"{what}.tokens"]], 2).movedim(1, -1)
    ratio, aspect = reference[f"{what}.signal_ratio"].view(1), float(reference[f"{what}.h_div_w"])
    wanted = reference[f"{what}.logits_{prompt}"]
    logits = network(tokens, ratio, prepared, aspect)[:, len(given) :].flatten(1, 3)
    torch.testing.assert_close(logits, wanted, rtol=0, atol=1e-4)
    (packed,) = network.packed([tokens[0]], ratio, prepared)  # at the map's own shape, whose template is the same
    torch.testing.assert_close(packed[len(given) :].flatten(0, 2)[None], wanted, rtol=0, atol=1e-4)
    one_way, _ = load_published("t2iv_fsa_bit", channels=4)  # the same weights, and something else
    others = one_way(tokens, ratio, one_way.prepare(TextCondition(words, prepared.mask)), aspect)
    assert (others[:, len(given) :].flatten(1, 3) - wanted).abs().max() > 0.1


CLASS_CONFIGS = [
    ClassToImageConfig.tiny("ind"),
    ClassToImageConfig.tiny("bit"),
    ClassToImageConfig.tiny("flip"),
    ClassToImageConfig.tiny("ind", patch=2),
    ClassToImageConfig(
        channels=3, rounds=3, width=24, depth=3, heads=3, num_classes=2, size=3, bottleneck=5, context_tokens=2,
        context_start=0,
    ),
    ClassToImageConfig(
        channels=2, rounds=1, width=16, depth=2, heads=1, num_classes=4, size=2, bottleneck=3, context_tokens=4,
        context_start=9,
    ),
]  # fmt: skip


@pytest.mark.parametrize("config", CLASS_CONFIGS)
@torch.no_grad()
def test_class_to_image_equals_the_plain_network(config: ClassToImageConfig) -> None:
    network = randomised(ClassToImage(config))
    maps = token_map(config, 2, 1, config.size, config.size, low=-1)
    assert (maps < 0).any()
    labels, ratios = torch.tensor([1, config.num_classes]), torch.tensor([0.0, 0.7])
    logits = network(maps, ratios, network.prepare(ClassCondition(labels)))
    assert logits.shape == (*maps.shape, config.classes)
    assert logits.dtype == torch.float32
    for i in range(2):
        plain = plain_class_to_image(config, network.state_dict(), maps[i, 0], float(ratios[i]), int(labels[i]))
        torch.testing.assert_close(logits[i, 0], plain.float(), rtol=1e-4, atol=1e-4)


def test_a_map_is_whole_patches() -> None:
    with pytest.raises(ValidationError, match="size 4 is not a multiple of patch 3"):
        ClassToImageConfig.tiny(patch=3)


def test_no_context_tokens_are_none() -> None:
    config = ClassToImageConfig(**{**ClassToImageConfig.tiny().model_dump(), "context_tokens": 0})
    network = randomised(ClassToImage(config))
    maps = token_map(config, 1, 1, 4, 4)
    logits = network(maps, torch.tensor([0.3]), network.prepare(ClassCondition(torch.tensor([2]))))
    late = ClassToImageConfig(**{**ClassToImageConfig.tiny().model_dump(), "context_start": 9})
    plain = plain_class_to_image(
        late, network.state_dict(), maps[0, 0], 0.3, 2
    )  # context that joins behind the last block
    torch.testing.assert_close(logits[0, 0], plain.float(), rtol=1e-4, atol=1e-4)


TEXT_CONFIGS = [
    TextToVisualConfig.tiny("ind"),
    TextToVisualConfig.tiny("bit"),
    TextToVisualConfig.tiny("bit", patch=2),
    TextToVisualConfig.tiny("bit", text_attention="joint"),
    TextToVisualConfig(
        target="ind", channels=2, rounds=3, width=24, depth=3, heads=3, text_width=3, patch=3, text_attention="joint"
    ),
    TextToVisualConfig(target="flip", channels=3, rounds=3, width=24, depth=3, heads=3, text_width=5, mlp_ratio=9),
    TextToVisualConfig(target="ind", channels=2, rounds=3, width=20, depth=1, heads=1, text_width=3, patch=3),
    TextToVisualConfig.tiny("ind", patch=2).model_copy(update={"head_width": 40}),
]
SHAPES = [(1, 6, 6), (3, 6, 12)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("config", TEXT_CONFIGS)
@torch.no_grad()
def test_text_to_visual_equals_the_plain_network(config: TextToVisualConfig, shape: tuple[int, int, int]) -> None:
    """The plain network computes the text in every call and has no padding: both shortcuts are held to it."""
    network = randomised(TextToVisual(config))
    maps = token_map(config, 2, *shape, low=-1)
    lengths, ratios = (2, 4), torch.tensor([0.0, 0.7])
    condition = text(config, *lengths)
    logits = network(maps, ratios, network.prepare(condition))
    assert logits.shape == (*maps.shape, config.classes)
    assert logits.dtype == torch.float32
    for i, length in enumerate(lengths):
        words = condition.tokens[i, :length]
        plain = plain_text_to_visual(
            config, network.state_dict(), maps[i], float(ratios[i]), words, shape[1] / shape[2]
        )
        torch.testing.assert_close(logits[i], plain.float(), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_aspect_is_the_maps_unless_given() -> None:
    config = TextToVisualConfig.tiny()
    network = randomised(TextToVisual(config))
    maps, ratio, prepared = token_map(config, 1, 1, 4, 8), torch.tensor([0.5]), network.prepare(text(config, 3))
    own = network(maps, ratio, prepared)
    assert torch.equal(own, network(maps, ratio, prepared, 0.5))
    assert not torch.allclose(own, network(maps, ratio, prepared, 2.0))
    words = text(config, 3).tokens[0]
    plain = plain_text_to_visual(config, network.state_dict(), maps[0], 0.5, words, 2.0)
    torch.testing.assert_close(network(maps, ratio, prepared, 2.0)[0], plain.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("attention", ["one-way", "joint"])
@torch.no_grad()
def test_padding_changes_nothing(attention: TextAttention) -> None:
    config = TextToVisualConfig.tiny(text_attention=attention)
    network = randomised(TextToVisual(config))
    maps, ratio = token_map(config, 1, 1, 4, 4), torch.tensor([0.5])
    alone = text(config, 3)
    padded = TextCondition(
        nn.functional.pad(alone.tokens, (0, 0, 0, 4), value=7.0), nn.functional.pad(alone.mask, (0, 4))
    )
    expected = network(maps, ratio, network.prepare(alone))
    torch.testing.assert_close(network(maps, ratio, network.prepare(padded)), expected, rtol=0, atol=1e-6)
    careless = TextCondition(padded.tokens, torch.ones_like(padded.mask))  # the canary
    assert not torch.allclose(network(maps, ratio, network.prepare(careless)), expected, atol=1e-3)


def test_a_trimmed_text_has_no_padding_behind_its_longest() -> None:
    given = text(TextToVisualConfig.tiny(), 2, 3)
    padded = TextCondition(nn.functional.pad(given.tokens, (0, 0, 0, 4)), nn.functional.pad(given.mask, (0, 4)))
    found = padded.trimmed()
    assert torch.equal(found.tokens, given.tokens)
    assert torch.equal(found.mask, given.mask)


def _families() -> list[tuple[nn.Module, object, tuple[int, ...]]]:
    class_config, text_config = ClassToImageConfig.tiny(), TextToVisualConfig.tiny()
    joint_config = TextToVisualConfig.tiny(text_attention="joint")
    return [
        (randomised(ClassToImage(class_config)), ClassCondition(torch.tensor([0, 3, 5])), (1, 4, 4)),
        (randomised(TextToVisual(text_config)), text(text_config, 2, 5, 3), (2, 4, 2)),
        (randomised(TextToVisual(joint_config)), text(joint_config, 2, 5, 3), (2, 4, 2)),
    ]


@pytest.mark.parametrize("family", [0, 1, 2], ids=["class", "text", "joint text"])
@torch.no_grad()
def test_a_sample_is_the_same_alone_and_in_any_batch(family: int) -> None:
    network, condition, shape = _families()[family]
    maps, ratios = token_map(network.config, 3, *shape), torch.tensor([0.1, 0.5, 0.9])
    prepared = network.prepare(condition)
    together = network(maps, ratios, prepared)
    for i in range(3):
        index = torch.tensor([i])
        alone = network(maps[index], ratios[index], network.prepare(condition.rows(index)))
        torch.testing.assert_close(alone, together[index], rtol=0, atol=1e-6)
        torch.testing.assert_close(
            network(maps[index], ratios[index], prepared.rows(index)), together[index], rtol=0, atol=1e-6
        )
    order = torch.tensor([2, 0, 2])
    again = network(maps[order], ratios[order], prepared.rows(order))
    torch.testing.assert_close(again, together[order], rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", [0, 1, 2], ids=["class", "text", "joint text"])
@torch.no_grad()
def test_conditions_prepared_apart_can_be_joined(family: int) -> None:
    network, condition, shape = _families()[family]
    maps, ratios = token_map(network.config, 3, *shape), torch.tensor([0.1, 0.5, 0.9])
    whole = network.prepare(condition)
    parts = [condition.rows(torch.tensor([0])), condition.rows(torch.tensor([1, 2]))]
    if family:  # without the padding that the joined one has
        parts[0] = TextCondition(parts[0].tokens[:, :2], parts[0].mask[:, :2])
    joined = type(whole).cat([network.prepare(part) for part in parts])
    assert isinstance(joined, PreparedClass | PreparedText)
    assert len(joined) == len(whole) == len(type(condition).cat(parts)) == 3
    torch.testing.assert_close(network(maps, ratios, joined), network(maps, ratios, whole), rtol=0, atol=1e-6)
    rejoined = network.prepare(type(condition).cat(parts).to("cpu"))
    torch.testing.assert_close(network(maps, ratios, rejoined), network(maps, ratios, whole), rtol=0, atol=1e-6)


@torch.no_grad()
def test_no_class_is_a_class_of_its_own() -> None:
    network, _, _ = _families()[0]
    assert network.null_condition(3).labels.tolist() == [network.config.num_classes] * 3


@pytest.mark.parametrize("family", [0, 1, 2], ids=["class", "text", "joint text"])
def test_gradients_reach_every_weight(family: int) -> None:
    network, condition, shape = _families()[family]
    maps, ratios = token_map(network.config, 3, *shape), torch.tensor([0.1, 0.5, 0.9])
    logits = network(maps, ratios, network.prepare(condition))
    nn.functional.cross_entropy(logits.flatten(0, -2), maps.flatten()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("family", [0, 1, 2], ids=["class", "text", "joint text"])
def test_gradients_equal_the_plain_networks(family: int) -> None:
    network, condition, shape = _families()[family]
    config = network.config
    names, parameters = zip(*network.named_parameters(), strict=True)
    maps, index = token_map(config, 1, *shape), torch.tensor([0])
    target = torch.randn(*maps.shape[1:], config.classes, dtype=torch.float64)
    weights = dict(zip(names, parameters, strict=True))
    logits = network(maps, torch.tensor([0.5]), network.prepare(condition.rows(index)))[0]
    fast = torch.autograd.grad((logits * target).sum(), parameters)
    if isinstance(config, ClassToImageConfig):
        plain_logits = plain_class_to_image(config, weights, maps[0, 0], 0.5, 0)
    else:
        plain_logits = plain_text_to_visual(config, weights, maps[0], 0.5, condition.tokens[0, :2], shape[1] / shape[2])
    plain = torch.autograd.grad((plain_logits * target).sum(), parameters)
    for name, one, other in zip(names, fast, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4, msg=name)


def test_untrained_networks_find_every_class_alike() -> None:
    for network, condition, shape in [
        (ClassToImage(ClassToImageConfig.tiny()), ClassCondition(torch.tensor([0])), (1, 4, 4)),
        (TextToVisual(TextToVisualConfig.tiny()), text(TextToVisualConfig.tiny(), 2), (1, 4, 4)),
    ]:
        maps = token_map(network.config, 1, *shape)
        assert not network(maps, torch.tensor([0.5]), network.prepare(condition)).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_sum_of_columns_is_a_product_with_one_hot_vectors_gradients_included(dtype: torch.dtype) -> None:
    """A masked element is none of them."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(-1, 6, (2, 7, 3), generator=generator)
    assert (tokens < 0).any()
    weights = torch.randn(2, 7, 5, generator=generator).to(dtype)
    weight = torch.randn(5, 18, generator=generator).to(dtype).requires_grad_()
    columns = torch.where(tokens < 0, -1, tokens + torch.tensor([0, 6, 12]))
    hot = torch.stack([tokens == k for k in range(6)], -1).flatten(-2).to(dtype)  # [..., E * K]
    found = [sum_of_columns(weight, columns), hot @ weight.T]
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-6)
    gradients = [torch.autograd.grad((one * weights).sum(), weight)[0] for one in found]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-5)
    with torch.no_grad():
        looked_up = sum_of_columns(weight, columns)
    torch.testing.assert_close(looked_up, found[1], rtol=0, atol=1e-6)
    for context in (torch.no_grad(), torch.enable_grad()):
        with context:
            assert not sum_of_columns(weight, torch.full((1, 3), -1)).any()


@pytest.mark.parametrize("family", [0, 1, 2], ids=["class", "text", "joint text"])
@torch.no_grad()
def test_half_precision_in_and_out(family: int) -> None:
    network, condition, shape = _families()[family]
    maps, ratios = token_map(network.config, 3, *shape), torch.tensor([0.1, 0.5, 0.9])
    exact = network(maps, ratios, network.prepare(condition))
    network.bfloat16()
    rough = network(maps, ratios, network.prepare(condition))
    assert rough.dtype == torch.float32
    error = (rough - exact).norm() / exact.norm()
    assert error < 0.1


@pytest.mark.filterwarnings("error:Mismatch dtype between input and weight")  # a norm in parts
@pytest.mark.parametrize("family", [0, 1, 2], ids=["class", "text", "joint text"])
@torch.no_grad()
def test_the_last_layer_is_never_in_half_precision(family: int) -> None:
    network, condition, shape = _families()[family]
    network.float()
    maps, ratios = token_map(network.config, 3, *shape), torch.tensor([0.1, 0.5, 0.9])
    seen = set()
    network.blocks[0].mlp.register_forward_hook(lambda _module, _inputs, output: seen.add(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(maps, ratios, network.prepare(condition))
    assert seen == {torch.bfloat16}  # autocast is at work elsewhere
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 8), (2, 2, 4), (1, 3, 3), (1, 8, 8)])
def test_a_class_network_takes_maps_of_its_own_size_only(shape: tuple[int, int, int]) -> None:
    network, condition, _ = _families()[0]
    with pytest.raises(UsageError, match=r"this class-to-image network draws maps of \(1, 4, 4,"):
        network(token_map(network.config, 3, *shape), torch.rand(3), network.prepare(condition))


def test_a_map_that_is_no_whole_patches_is_a_mistake() -> None:
    network = TextToVisual(TextToVisualConfig.tiny(patch=2))
    with pytest.raises(AssertionError, match="3x4 tokens are no patches of 2"):
        network(token_map(network.config, 1, 1, 3, 4), torch.rand(1), network.prepare(text(network.config, 1)))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ClassToImageConfig(width=30, depth=1, heads=4), "4 heads"),
        (lambda: ClassToImageConfig(width=24, depth=1, heads=4), "multiple of 4 channels"),
        (lambda: TextToVisualConfig(width=9, depth=1, heads=3), "multiple of 2 channels"),
        (
            lambda: TextToVisualConfig(width=8, depth=1, heads=1, target="ind", rounds=9),
            "use target bit above 8 rounds",
        ),
        (lambda: TextToVisualConfig(width=8, depth=1, heads=1, depht=1), "depht"),
        (lambda: TextToVisualConfig(width=8, depth=10**9, heads=1), "depth"),
    ],
)
def test_sizes_that_cannot_be_are_refused(make: object, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        make()  # type: ignore[operator]


def test_elements_and_classes_follow_from_the_target() -> None:
    sizes = {
        t: TextToVisualConfig(target=t, channels=16, rounds=4, width=8, depth=1, heads=1)
        for t in ("ind", "bit", "flip")
    }
    assert {t: (c.elements, c.classes) for t, c in sizes.items()} == {"ind": (16, 16), "bit": (64, 2), "flip": (64, 2)}
    assert TextToVisualConfig(width=2304, depth=1, heads=18).hidden == 8192


@pytest.mark.parametrize("text_attention", ["one-way", "joint"])
def test_an_empty_prompt_of_zeros_does_not_blow_up_gradients(text_attention: Any) -> None:
    """Norms divide by next to nothing there, were it not for the bias of new weights."""
    torch.manual_seed(0)
    network = TextToVisual(TextToVisualConfig.tiny(text_attention=text_attention))
    nn.init.normal_(network.head.weight, std=0.02)
    maps, mask = torch.randint(2, (1, 1, 4, 4, 8)), torch.ones(1, 1, dtype=torch.bool)

    def norm(token: Tensor) -> float:
        network.zero_grad()
        logits = network(maps, torch.tensor([0.5]), network.prepare(TextCondition(token, mask)))
        nn.functional.cross_entropy(logits.flatten(0, -2), maps.flatten()).backward()
        return float(nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None]))

    assert norm(torch.zeros(1, 1, 6)) < 2 * norm(torch.randn(1, 1, 6))


@pytest.mark.parametrize("coarse", [True, False])
def test_logits_are_summed_in_float32(coarse: bool) -> None:
    """Of bfloat16 numbers the products are exact, whatever multiplies them; of float32 ones nothing is rounded first."""
    generator = torch.Generator().manual_seed(0)
    head, x = nn.Linear(512, 64), torch.randn(40, 512, generator=generator)
    nn.init.normal_(head.weight, generator=generator)
    if coarse:
        head, x = head.bfloat16(), x.bfloat16()
    before = torch.backends.mkldnn.matmul.fp32_precision
    logits = logits_of(head, x)
    assert torch.backends.mkldnn.matmul.fp32_precision == before
    assert logits.dtype == torch.float32
    torch.testing.assert_close(
        logits, nn.functional.linear(x.double(), head.weight.double(), head.bias.double()).float(), rtol=1e-5, atol=1e-4
    )
