"""What benchmarks/published.py measures: each work as two calls, with the same random weights in both networks."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from published_code import plain_imports, unlowered
from torch import Tensor, nn

from grn.devices import fast_type
from grn.hub.renames import rename
from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.class_to_image import ClassToImage
from grn.networks.condition import ClassCondition, TextCondition
from grn.networks.generator_config import TextToVisualConfig
from grn.networks.presets import PRESETS
from grn.networks.text_to_visual import TextToVisual
from grn.refine.config import SamplerConfig
from grn.refine.sampler import Sampler
from grn.training.engine import Engine
from grn.training.generator import GeneratorTask, Prediction
from grn.training.generator_data import GeneratorExample, collate, corrupt
from grn.training.loader import Part
from grn.training.loop import Loop
from grn.training.recipe import GeneratorRecipe, load_recipe
from grn.training.task import Slot

RECIPE = Path(__file__).parents[1] / "recipes" / "paper" / "grn-b.toml"


@dataclass(frozen=True)
class Setting:
    """Where, in which format ours computes, and whether sizes are small."""

    device: torch.device
    dtype: torch.dtype
    small: bool

    @classmethod
    def here(cls, small: bool, dtype: str | None) -> "Setting":
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return cls(device, getattr(torch, dtype) if dtype else fast_type(device), small)

    @property
    def gpu(self) -> bool:
        return self.device.type == "cuda"

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """How the published code is run: under autocast on a GPU, as its scripts do; as it is on a processor."""
        return torch.autocast("cuda", torch.bfloat16, enabled=self.gpu)


@dataclass(frozen=True)
class Work:
    """compare: greatest difference of the outputs in float32, relative to their size. counted: its operations are those of one call."""

    name: str
    published: Callable[[], object]
    ours: Callable[[], object]
    compare: Callable[[], float]
    tolerance: float = 1e-3
    counted: bool = True


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one.float() - other.float()).abs().max() / other.float().abs().max())


def _same_weights(published: nn.Module, ours: nn.Module, family: str) -> None:
    """Ours gets the published network's, where a zero at the start would hide mistakes made random first."""
    for parameter in published.parameters():
        if parameter.requires_grad and not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    renamed = rename(family, dict(published.state_dict()))
    ours.load_state_dict({name: renamed[name] for name in renamed})


def _tokenizers(setting: Setting, channels: int) -> tuple[Any, CausalAutoencoder, CausalAutoencoder]:
    with plain_imports(setting.gpu):
        from published_grn.models.hbq_tokenizer import HBQ_Tokenizer
    torch.manual_seed(0)
    with plain_imports(setting.gpu):
        published = HBQ_Tokenizer(
            args=None, latent_channels=channels, encoder_out_type="feature_tanh", temperal_downsample=[0, 1, 1]
        )
    exact = CausalAutoencoder(TokenizerConfig(channels=channels))
    _same_weights(published, exact, "tokenizer")
    published, exact = (network.to(setting.device).eval().requires_grad_(False) for network in (published, exact))
    return published, exact, copy.deepcopy(exact).to(setting.dtype).lay_out()


def _tokenizer(setting: Setting, channels: int, shape: tuple[int, ...], prefix: str) -> Iterator[Work]:
    published, exact, ours = _tokenizers(setting, channels)
    pixels = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1).to(setting.device)
    lowered = pixels.to(setting.dtype)
    with torch.inference_mode():
        features = exact.encode(pixels)

    def run(call: Callable[[Tensor], Tensor], given: Tensor, published: bool) -> Callable[[], Tensor]:
        def once() -> Tensor:
            with torch.inference_mode(), setting.autocast() if published else contextlib.nullcontext():
                return call(given)

        return once

    def compare(call: str, given: Tensor) -> Callable[[], float]:
        def difference() -> float:
            with torch.inference_mode():
                return _difference(getattr(exact, call)(given), getattr(published, call)(given))

        return difference

    lower = features.to(setting.dtype)
    yield Work(
        f"{prefix}encode", run(published.encode, pixels, True), run(ours.encode, lowered, False),
        compare("encode", pixels),
    )  # fmt: skip
    yield Work(
        f"{prefix}decode", run(published.decode, features, True), run(ours.decode, lower, False),
        compare("decode", features),
    )  # fmt: skip


def pictures(setting: Setting) -> Iterator[Work]:
    """One picture of 256x256 by the image tokenizer; eight on a GPU."""
    side = 64 if setting.small else 256
    yield from _tokenizer(setting, 16, (8 if setting.gpu else 1, 3, 1, side, side), "")


def clips(setting: Setting) -> Iterator[Work]:
    """9 frames of 128x128 by the joint tokenizer; 17 of 480x480 on a GPU."""
    frames, side = (5, 32) if setting.small else (17, 480) if setting.gpu else (9, 128)
    yield from _tokenizer(setting, 64, (1, 3, frames, side, side), "clip ")


def _classes(setting: Setting, steps: int) -> tuple[Any, ClassToImage]:
    with plain_imports(setting.gpu):
        from published_grn.utils_c2i.denoiser import Denoiser
    torch.manual_seed(0)
    arguments = SimpleNamespace(
        model="GRN_B", img_size=256, in_channels=256, class_num=1000, attn_dropout=0.0, proj_dropout=0.0,
        method="GRN_ind", hbq_round=4, label_drop_prob=0.1, P_mean=-0.8, P_std=0.8, t_eps=5e-2, noise_scale=1.0,
        ema_decay1=0.9999, ema_decay2=0.9996, sampling_method="euler", num_sampling_steps=steps, cfg=2.35,
        interval_min=0.44, interval_max=1.0, tau=1.31,
    )  # fmt: skip
    with plain_imports(setting.gpu):
        published = Denoiser(arguments)
    config = PRESETS["grn-b"]
    ours = ClassToImage(config)  # type: ignore[arg-type]
    _same_weights(published.net, ours, "class-to-image")
    return published.to(setting.device), ours.to(setting.device)


def generator(setting: Setting) -> Iterator[Work]:
    """GRN-B: one step of a batch, and whole pictures with guidance in part of the steps."""
    batch, count = (1, 1) if setting.small else (128, 16) if setting.gpu else (4, 1)
    steps = 3 if setting.small else 50 if setting.gpu else 9
    published, exact = _classes(setting, steps)
    published.eval().requires_grad_(False)
    exact.eval().requires_grad_(False)
    ours = copy.deepcopy(exact).to(setting.dtype)
    random = torch.Generator().manual_seed(0)
    maps = torch.randint(16, (batch, 1, 16, 16, 16), generator=random).to(setting.device)
    theirs = maps[:, 0].permute(0, 3, 1, 2).contiguous()
    ratio, labels = torch.full((batch,), 0.5, device=setting.device), torch.arange(batch, device=setting.device)
    prepared = ours.prepare(ClassCondition(labels))

    @torch.inference_mode()
    def step() -> Tensor:
        with setting.autocast():
            return published.net(theirs, ratio, labels)

    @torch.inference_mode()
    def our_step() -> Tensor:
        return ours(maps, ratio, prepared)

    @torch.inference_mode()
    def compare() -> float:
        logits = exact(maps, ratio, exact.prepare(ClassCondition(labels)))  # [B, 1, h, w, E, K]
        return _difference(logits[:, 0].permute(0, 4, 3, 1, 2), published.net(theirs, ratio, labels))

    yield Work("forward", step, our_step, compare)
    some = torch.arange(count, device=setting.device)
    config = SamplerConfig(steps=steps, guidance=2.35, guidance_start=0.44, temperature=1.31)

    @torch.no_grad()
    def draw() -> object:
        with setting.autocast():
            return published.generate(some)

    def our_draw() -> object:
        sampler, null = Sampler(ours, config), ours.null_condition(1).to(setting.device)
        return list(sampler.run(ClassCondition(some), null, (1, 16, 16), batch_size=count))

    yield Work("drawing", draw, our_draw, compare, counted=False)


class ClassTraining(GeneratorTask):
    """The training of a class network on batches that are given, without a data set."""

    def __init__(self, recipe: Any, network: ClassToImage) -> None:
        self.recipe, self.network, self.config, self.text = recipe, network, recipe.network, None
        self.modules = nn.ModuleDict({"model": network})
        self.prediction = Prediction(network, recipe.run)
        self.calls = {"model": self.prediction}


def training(setting: Setting) -> Iterator[Work]:
    """A training step of GRN-B: batch, loss, gradients, optimizer, averages."""
    batch = 1 if setting.small else 64 if setting.gpu else 4
    published, network = _classes(setting, 50)
    recipe = load_recipe(RECIPE, [f"run.batch_size={batch}", f"run.compile={'on' if setting.gpu else 'off'}"])
    assert isinstance(recipe, GeneratorRecipe), f"{RECIPE}: is of no generator"
    before = copy.deepcopy(network).eval()
    task = ClassTraining(recipe, network)
    loop = Loop(task, recipe, Path("unused"), Engine())
    random, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)
    maps = torch.randint(16, (batch, 1, 16, 16, 16), generator=random, dtype=torch.uint8)
    examples = [GeneratorExample(one, corrupt(one.shape, 16, recipe.ratio, rng), n) for n, one in enumerate(maps)]
    part = Part(tuple(Slot(0, n, n) for n in range(batch)), collate(examples).to(setting.device))
    published.train()
    theirs = maps.long()[:, 0].permute(0, 3, 1, 2).contiguous().to(setting.device)
    labels = torch.arange(batch, device=setting.device)
    weights = [parameter for parameter in published.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=2e-4, betas=(0.9, 0.95), weight_decay=0.0)
    for number in (1, 2):
        averages = [parameter.detach().clone() for parameter in published.parameters()]
        setattr(published, f"ema_params{number}", averages)

    def step() -> None:
        with setting.autocast():
            loss, _, _ = published(theirs, labels)
        loss.item()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(published.parameters(), 0.1)
        optimizer.step()
        published.update_ema()

    def our_step() -> None:
        loop.train_step([part])
        loop.step += 1

    @torch.no_grad()
    def compare() -> float:
        """Of the networks that start; the batches are drawn at random within both."""
        ratio, one = torch.full((batch,), 0.5, device=setting.device), maps.long().to(setting.device)
        logits = before(one, ratio, before.prepare(ClassCondition(labels)))
        published.eval()
        difference = _difference(logits[:, 0].permute(0, 4, 3, 1, 2), published.net(theirs, ratio, labels))
        published.train()
        return difference

    yield Work("training", step, our_step, compare, counted=False)


def text(setting: Setting) -> Iterator[Work]:
    """The text network, steps of a picture with guidance: 2 blocks of its 28 at 256x256; all of them at 1024x1024 on a GPU."""
    depth, steps, side = (28, 10, 64) if setting.gpu and not setting.small else (2, 2, 4 if setting.small else 16)
    published, arguments = _published_text(setting, depth, steps)
    config = TextToVisualConfig(target="bit", channels=64, width=2304, depth=depth, heads=18, text_width=4096)
    exact = TextToVisual(config).to(setting.device).eval().requires_grad_(False)
    _same_weights(published, exact, "text-to-visual")
    ours = copy.deepcopy(exact).to(setting.dtype)
    random = torch.Generator().manual_seed(0)
    words, empty = (torch.randn(n, 4096, generator=random).mul(0.1).to(setting.device) for n in (77, 2))

    def given(tokens: Tensor) -> tuple[Tensor, list[int], Tensor, int]:
        length = len(tokens)
        return tokens, [length], torch.tensor([0, length], device=setting.device), length

    def condition(tokens: Tensor) -> TextCondition:
        return TextCondition(tokens[None], torch.ones(1, len(tokens), dtype=torch.bool, device=setting.device))

    with plain_imports(False):
        from published_grn.schedules.global_refine import get_scale_pack_info, get_visual_rope_embeds
    schedule = [(1, side, side)]
    info = get_scale_pack_info(schedule, 0, arguments)

    @torch.no_grad()
    def draw() -> object:
        with plain_imports(True), setting.autocast():
            return published.autoregressive_infer(
                vae=None, scale_schedule=schedule, label_B_or_BLT=[given(words)],
                negative_label_B_or_BLT=given(empty), g_seed=0, cfg_list=[3.0], tau_list=[1.1], args=arguments,
                get_visual_rope_embeds=get_visual_rope_embeds, context_info=info,
            )  # fmt: skip

    sampling = SamplerConfig(steps=steps, guidance=3.0, temperature=1.1, curve="cosine", ratio_shown="kept")
    texts = [condition(tokens.to(setting.dtype)) for tokens in (words, empty)]

    def our_draw() -> object:
        return list(Sampler(ours, sampling).run(texts[0], texts[1], (1, side, side)))

    @torch.no_grad()
    def compare() -> float:
        """The published network's first step, overheard, beside ours of the same map."""
        heard: dict[str, Tensor] = {}

        def hear_map(_module: nn.Module, seen: tuple[Tensor, ...], _out: Tensor) -> None:
            heard.setdefault("hot", seen[0])

        def hear_logits(_module: nn.Module, _seen: tuple[Tensor, ...], out: Tensor) -> None:
            heard.setdefault("logits", out)

        hooks = [
            published.word_embed.register_forward_hook(hear_map),
            published.head.register_forward_hook(hear_logits),
        ]
        with unlowered(setting.gpu):
            draw()
        for hook in hooks:
            hook.remove()
        tokens = heard["hot"].reshape(-1, side * side, config.elements, 2)[:1].argmax(-1)
        prepared = exact.prepare(condition(words))
        logits = exact(tokens.view(1, 1, side, side, -1), torch.zeros(1, device=setting.device), prepared)
        theirs = heard["logits"].reshape(-1, config.elements * 2)[: side * side]
        return _difference(logits.reshape(side * side, -1), theirs)

    # On a GPU the published attention computes in bfloat16, and autocast all around it.
    yield Work("text", draw, our_draw, compare, tolerance=5e-2 if setting.gpu else 1e-3, counted=False)


def _published_text(setting: Setting, depth: int, steps: int) -> tuple[Any, SimpleNamespace]:
    with plain_imports(False):
        from published_grn.models.grn import GRN
    arguments = SimpleNamespace(
        detail_scale_dim=64, detail_num_lvl=2, hbq_round=4, refine_mode="ar_discrete_GRN_bit", use_ada_layer_norm=0,
        add_scale_token=1, dynamic_scale_schedule="GRN_vae_stride16", train_h_div_w_list="[]", video_frames=81,
        temporal_compress_rate=4, rope_type="3d", max_infer_steps=steps, min_infer_steps=steps,
        cfg_type="cfg_interval_0.0", complexity_aware_Tmax=steps, snr_shift=1.0, mapped_h_div_w_template=1.0, meta="",
        add_class_token=0,
    )  # fmt: skip
    torch.manual_seed(0)
    with plain_imports(False), setting.device:
        published = GRN(
            vae_local=SimpleNamespace(codebook_dim=64), arch="qwen", text_channels=4096, text_maxlen=512,
            embed_dim=2304, depth=depth, num_heads=18, num_key_value_heads=18, mlp_ratio=3.55,
            block_chunks=2 if depth < 7 else 7, pn="1M", pad_to_multiplier=128, rope2d_normalized_by_hw=2,
            video_frames=81, inference_mode=True, other_args=arguments,
        )  # fmt: skip
    for parameter in published.parameters():
        if parameter.dim() == 2:
            nn.init.normal_(parameter, std=0.02)
    published.summed_codes2images = lambda _vae, codes: codes
    return published.eval().requires_grad_(False), arguments
