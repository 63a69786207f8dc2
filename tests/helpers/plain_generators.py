"""Second, plain implementations of both generator families: a sample at a time, loops, no caching.

They read the networks' own state dicts and share no code with grn.
"""

import math

import torch
from torch import Tensor

from grn.networks.generator_config import ClassToImageConfig, TextToVisualConfig

Weights = dict[str, Tensor]


def linear(x: Tensor, w: Weights, name: str) -> Tensor:
    out = x @ w[f"{name}.weight"].T
    return out + w[f"{name}.bias"] if f"{name}.bias" in w else out


def rms_norm(x: Tensor, gain: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * gain


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def swiglu(x: Tensor, w: Weights, name: str) -> Tensor:
    both = linear(x, w, f"{name}.gate_up")
    half = both.shape[-1] // 2
    return linear(silu(both[..., :half]) * both[..., half:], w, f"{name}.down")


def ratio_vector(ratio: float, w: Weights) -> Tensor:
    angles = [ratio * 10000 ** (-n / 128) for n in range(128)]
    waves = torch.tensor([math.cos(a) for a in angles] + [math.sin(a) for a in angles], dtype=torch.float64)
    return linear(silu(linear(waves, w, "ratio.inner")), w, "ratio.outer")


def turn(x: Tensor, angles: list[float]) -> Tensor:
    """Neighbouring channels (2n, 2n+1) of one token, as a complex number, turned by angle n."""
    pairs = torch.complex(x[0::2], x[1::2]) * torch.polar(
        torch.ones(len(angles), dtype=x.dtype), torch.tensor(angles, dtype=x.dtype)
    )
    return torch.stack([pairs.real, pairs.imag], 1).flatten()


def attend(x: Tensor, w: Weights, name: str, heads: int, angles: list[list[float]], sees: list[list[int]]) -> Tensor:
    """x [N, D]; sees[i]: the tokens that token i attends to."""
    tokens, width = x.shape
    size = width // heads
    query, key, value = linear(x, w, f"{name}.qkv").chunk(3, -1)
    out = torch.zeros_like(x)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        q = torch.stack(
            [turn(rms_norm(query[i, part], w[f"{name}.query_norm.weight"]), angles[i]) for i in range(tokens)]
        )
        k = torch.stack([turn(rms_norm(key[i, part], w[f"{name}.key_norm.weight"]), angles[i]) for i in range(tokens)])
        for i, others in enumerate(sees):
            weight = ((k[others] @ q[i]) / math.sqrt(size)).softmax(0)
            out[i, part] = weight @ value[others, part]
    return linear(out, w, f"{name}.out")


def hot(token: list[int], classes: int) -> list[list[float]]:
    """[E] -> [E][K]; -1 is nowhere."""
    return [[float(value == k) for k in range(classes)] for value in token]


def plain_class_to_image(config: ClassToImageConfig, w: Weights, token_map: Tensor, ratio: float, label: int) -> Tensor:
    """token_map [h, w, E] -> logits [h, w, E, K], in float64."""
    patch, size = config.patch, config.width // config.heads
    side = config.size // patch
    embedding = w["classes.weight"][label]
    vector = silu(ratio_vector(ratio, w) + embedding)
    tokens, angles = [], []
    for row in range(side):
        for column in range(side):
            encoded = []
            for y in range(patch):
                for z in range(patch):
                    encoded += hot(token_map[row * patch + y, column * patch + z].tolist(), config.classes)
            flat = [encoded[e][k] for k in range(config.classes) for e in range(len(encoded))]
            x = linear(linear(torch.tensor(flat, dtype=torch.float64), w, "squeeze"), w, "embed")
            quarter = config.width // 4
            place = []
            for position in (column, row):
                waves = [position * 10000 ** (-n / quarter) for n in range(quarter)]
                place += [math.sin(a) for a in waves] + [math.cos(a) for a in waves]
            tokens.append(x + torch.tensor(place, dtype=torch.float64))
            pairs = size // 4
            angles.append([position * 10000 ** (-n / pairs) for position in (row, column) for n in range(pairs)])
    x = torch.stack(tokens)
    for block in range(config.depth):
        if block == config.context_start:
            x = torch.cat([w["context_positions"] + embedding, x])
            angles = [[0.0] * (size // 2)] * config.context_tokens + angles
        name = f"blocks.{block}"
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = linear(vector, w, f"{name}.modulation.linear").chunk(6)
        y = rms_norm(x, w[f"{name}.attention_norm.weight"]) * (1 + scale_a) + shift_a
        x = x + gate_a * attend(y, w, f"{name}.attention", config.heads, angles, [list(range(len(x)))] * len(x))
        x = x + gate_m * swiglu(rms_norm(x, w[f"{name}.mlp_norm.weight"]) * (1 + scale_m) + shift_m, w, f"{name}.mlp")
    x = x[-(side**2) :]
    shift, scale = linear(vector, w, "head_modulation.linear").chunk(2)
    logits = linear(rms_norm(x, w["head_norm.weight"]) * (1 + scale) + shift, w, "head")
    found = torch.zeros(config.size, config.size, config.elements, config.classes, dtype=logits.dtype)
    for row in range(config.size):
        for column in range(config.size):
            place = logits[row // patch * side + column // patch].view(config.classes, patch, patch, config.elements)
            found[row, column] = place[:, row % patch, column % patch].T
    return found


def plain_text_to_visual(
    config: TextToVisualConfig, w: Weights, token_map: Tensor, ratio: float, text: Tensor, aspect: float
) -> Tensor:
    """token_map [t, h, w, E], text [L, D] (real tokens only) -> logits [t, h, w, E, K], in float64.

    Text, picture and ratio are one sequence, run through every layer together.
    """
    frames, height, width, _ = token_map.shape
    patch, size = config.patch, config.width // config.heads
    columns_all = math.floor(math.sqrt(225 * 75 / aspect))
    rows_all = math.floor(aspect * math.sqrt(225 * 75 / aspect))
    third = size // 6

    def angles_at(time: float, row: float, column: float) -> list[float]:
        axes = ((time, third), (row, third), (column, size // 2 - 2 * third))
        return [position * 10000 ** (-n / count) for position, count in axes for n in range(count)]

    tokens = list(linear(text, w, "text"))
    angles = [angles_at(j, 0, 0) for j in range(len(text))]
    for frame in range(frames):
        for top in range(0, height, patch):
            for left in range(0, width, patch):
                flat = []
                for row in range(top, top + patch):
                    for column in range(left, left + patch):
                        encoded = hot(token_map[frame, row, column].tolist(), config.classes)
                        flat += [value for element in encoded for value in element]
                tokens.append(linear(torch.tensor(flat, dtype=torch.float64), w, "embed"))
                middle = (patch - 1) / 2
                place = (round((top + middle) * rows_all / height), round((left + middle) * columns_all / width))
                angles.append(angles_at(600 + frame, *place))
    tokens.append(ratio_vector(ratio, w))
    angles.append(angles_at(512, 0, 0))
    x = torch.stack(tokens)
    apart = len(text) if config.text_attention == "one-way" else 0  # tokens that attend to each other only
    sees = [list(range(apart if i < apart else len(x))) for i in range(len(x))]
    for block in range(config.depth):
        name = f"blocks.{block}"
        y = rms_norm(x, w[f"{name}.attention_norm.weight"])
        x = x + attend(y, w, f"{name}.attention", config.heads, angles, sees)
        x = x + swiglu(rms_norm(x, w[f"{name}.mlp_norm.weight"]), w, f"{name}.mlp")
    last = rms_norm(x[len(text) : -1], w["head_norm.weight"])
    if "widen.weight" in w:
        wide = linear(last, w, "widen")
        last = wide * (1 + torch.erf(wide / 2**0.5)) / 2
    logits = linear(last, w, "head")
    out = torch.zeros(frames, height, width, config.elements, config.classes, dtype=torch.float64)
    parts = iter(logits.view(-1, config.elements, config.classes))
    for frame in range(frames):
        for top in range(0, height, patch):
            for left in range(0, width, patch):
                for row in range(top, top + patch):
                    for column in range(left, left + patch):
                        out[frame, row, column] = next(parts)
    return out
