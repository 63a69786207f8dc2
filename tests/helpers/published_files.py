"""Small random weights in the authors' file formats, and a hub cache as the hub's client lays it out."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor

from grn.networks.class_to_image import sincos_positions
from grn.networks.generator_config import ClassToImageConfig, TextToVisualConfig

REFERENCE = Path(__file__).parents[1] / "assets" / "reference"
REPO = "bytedance-research/GRN"
WORDS = ["<pad>", "</s>", "<unk>", "a", "cat", "dog", "red", "green", "house", "on", "&", "<"]
TEXT_WIDTH = 32  # of the reference's umT5
Shapes = dict[str, tuple[int, ...]]


def reference_state(name: str) -> dict[str, Tensor]:
    """The weights of a reference file, under the authors' keys."""
    state = load_file(REFERENCE / f"{name}.safetensors")
    return {key.removeprefix("weights."): value for key, value in state.items() if key.startswith("weights.")}


def class_shapes(c: ClassToImageConfig) -> Shapes:
    """The published class-to-image keys, but for pos_embed."""
    width, hidden, head = c.width, int(c.width * 8 / 3), c.elements * c.classes
    shapes: Shapes = {
        "in_context_posemb": (1, c.context_tokens, width),
        "t_embedder.mlp.0.weight": (width, 256), "t_embedder.mlp.0.bias": (width,),
        "t_embedder.mlp.2.weight": (width, width), "t_embedder.mlp.2.bias": (width,),
        "x_embedder.proj1.weight": (c.bottleneck, head, 1, 1), "x_embedder.proj2.weight": (width, c.bottleneck, 1, 1),
        "x_embedder.proj2.bias": (width,), "y_embedder.embedding_table.weight": (c.num_classes + 1, width),
        "final_layer.norm_final.weight": (width,), "final_layer.linear.weight": (head, width),
        "final_layer.linear.bias": (head,), "final_layer.adaLN_modulation.1.weight": (2 * width, width),
        "final_layer.adaLN_modulation.1.bias": (2 * width,),
    }  # fmt: skip
    for i in range(c.depth):
        block = {
            "norm1.weight": (width,), "norm2.weight": (width,), "attn.qkv.weight": (3 * width, width),
            "attn.qkv.bias": (3 * width,), "attn.q_norm.weight": (width // c.heads,),
            "attn.k_norm.weight": (width // c.heads,), "attn.proj.weight": (width, width), "attn.proj.bias": (width,),
            "mlp.w12.weight": (2 * hidden, width), "mlp.w12.bias": (2 * hidden,), "mlp.w3.weight": (width, hidden),
            "mlp.w3.bias": (width,), "adaLN_modulation.1.weight": (6 * width, width),
            "adaLN_modulation.1.bias": (6 * width,),
        }  # fmt: skip
        shapes.update({f"blocks.{i}.{key}": shape for key, shape in block.items()})
    return {f"net.{key}": shape for key, shape in shapes.items()}


def text_shapes(c: TextToVisualConfig) -> Shapes:
    """The published text-to-visual keys, four blocks a chunk."""
    width, head, hidden = c.width, c.elements * c.classes, c.hidden
    shapes: Shapes = {
        "word_embed.weight": (width, head), "word_embed.bias": (width,), "text_proj.weight": (width, c.text_width),
        "text_proj.bias": (width,), "pt_embedder.mlp.0.weight": (width, 256), "pt_embedder.mlp.0.bias": (width,),
        "pt_embedder.mlp.2.weight": (width, width), "pt_embedder.mlp.2.bias": (width,), "head.norm.weight": (width,),
        "head.proj.weight": (head, width), "head.proj.bias": (head,),
    }  # fmt: skip
    for i in range(c.depth):
        block = {
            "input_layernorm.weight": (width,), "post_attention_layernorm.weight": (width,),
            **{f"attn.{x}_proj.weight": (width, width) for x in "qkvo"},
            **{f"attn.{x}_norm.weight": (width // c.heads,) for x in "qk"},
            **{f"mlp.{x}_proj.weight": (hidden, width) for x in ("gate", "up")},
            "mlp.down_proj.weight": (width, hidden),
        }  # fmt: skip
        shapes.update({f"block_chunks.{i // 4}.module.{i % 4}.{key}": shape for key, shape in block.items()})
    return shapes


def encoder_shapes(vocabulary: int, width: int, hidden: int, heads: int, depth: int, buckets: int = 32) -> Shapes:
    """The published text encoder's keys."""
    shapes: Shapes = {"token_embedding.weight": (vocabulary, width), "norm.weight": (width,)}
    for i in range(depth):
        block = {
            "norm1.weight": (width,), "norm2.weight": (width,), "pos_embedding.embedding.weight": (buckets, heads),
            **{f"attn.{x}.weight": (width, width) for x in "qkvo"},
            "ffn.gate.0.weight": (hidden, width), "ffn.fc1.weight": (hidden, width), "ffn.fc2.weight": (width, hidden),
        }  # fmt: skip
        shapes.update({f"blocks.{i}.{key}": shape for key, shape in block.items()})
    return shapes


def filled(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    """Random values of those shapes, large enough that what a network is asked for shows."""
    random = torch.Generator().manual_seed(seed)
    return {
        key: torch.randn(shape, generator=random) * (0.5 if len(shape) < 2 else shape[1] ** -0.5)
        + float("norm" in key and len(shape) < 2)
        for key, shape in shapes.items()
    }


def class_state(c: ClassToImageConfig, seed: int = 0) -> dict[str, Tensor]:
    """A published class-to-image state."""
    return {**filled(class_shapes(c), seed), "net.pos_embed": sincos_positions(c.size, c.width)[None]}


def tokenizer_state(channels: int, seed: int = 0) -> dict[str, Tensor]:
    """The reference's tokenizer (4 channels) with random weights where others go in and out."""
    random = torch.Generator().manual_seed(seed)
    state = reference_state("tokenizer")
    wider = {"conv1": (2, 2), "encoder.head.2": (2, None), "conv2": (1, 1), "decoder.conv1": (None, 1)}
    for name, (outputs, inputs) in wider.items():
        shape = list(state[f"{name}.weight"].shape)
        shape[0] = shape[0] if outputs is None else outputs * channels
        shape[1] = shape[1] if inputs is None else inputs * channels
        state[f"{name}.weight"] = torch.randn(shape, generator=random) * shape[1] ** -0.5
        state[f"{name}.bias"] = torch.randn(shape[0], generator=random) * 0.1
    return state


# What the tiny files hold: the channels, rounds and depth by which published files are told from others.
CLASSES = ClassToImageConfig(
    width=32, depth=12, heads=2, num_classes=10, size=4, bottleneck=8, context_tokens=3, context_start=4
)
TEXTS = TextToVisualConfig(channels=64, width=48, depth=5, heads=2, text_width=TEXT_WIDTH)


def published_files() -> dict[str, Any]:
    """Name on the hub -> what the file holds, decoys beside the averages included."""
    classes, image, joint = class_state(CLASSES), tokenizer_state(16, 1), tokenizer_state(64, 2)
    larger = {size: class_state(CLASSES.model_copy(update={"depth": depth})) for size, depth in (("L", 24), ("H", 32))}
    return {
        "HBQ_image_tokenizer_16dim_M4.ckpt": {"ema": image, "vae": _zeros(image), "epoch": 3},
        "HBQ_image_video_tokenizer_64dim_M4_20260626.ckpt": {"ema": joint, "vae": _zeros(joint)},
        "GRN_ind_B_ep599.pth": {
            "model": _zeros(classes), "model_ema1": classes, "model_ema2": _zeros(classes),
            "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 2e-4}]}, "epoch": 599,
        },
        **{f"GRN_ind_{size}_ep599.pth": {"model_ema1": state} for size, state in larger.items()},
        "GRN_T2V_TITAN_FSA_sft10600_ema.pth": {"trainer": {"gpt_fsdp": filled(text_shapes(TEXTS), 5)}},
        "GRN_T2I_titan_FSA_256x256.pth": _shared(filled(text_shapes(TEXTS), 6)),
        "GRN_T2I_2B_FSA_251600.pth": filled(text_shapes(TEXTS), 3),
        "GRN_T2V_2B_FSA_sft147400_ema.pth": filled(text_shapes(TEXTS), 4),
        "umt5-xxl/models_t5_umt5-xxl-enc-bf16.pth": reference_state("umt5"),
        "umt5-xxl/umt5-xxl/tokenizer.json": pieces(),
    }  # fmt: skip


def _shared(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """With one head of keys and values for all of a block's queries, as the 8B layouts can have them."""
    size = TEXTS.width // TEXTS.heads
    return {key: value[:size] if "k_proj" in key or "v_proj" in key else value for key, value in state.items()}


def _zeros(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: torch.zeros_like(value) for key, value in state.items()}


def pieces(words: list[str] = WORDS) -> Tokenizer:
    """One piece a word, and the end of the text, as a `tokenizers` tokenizer."""
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return made


def hub_cache(folder: Path, files: dict[str, Any] | None = None, repo: str = REPO) -> Path:
    """Lay out files (all the published ones by default) as a snapshot in a hub cache; the snapshot's folder."""
    revision = "0123456789abcdef0123456789abcdef01234567"
    root = folder / f"models--{repo.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(revision)
    snapshot = root / "snapshots" / revision
    for name, content in (published_files() if files is None else files).items():
        path = snapshot / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Tokenizer):
            content.save(str(path))
        else:
            torch.save(content, path)
    return snapshot
