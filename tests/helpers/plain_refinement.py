"""Algorithm 3 written down plainly: one sample, one element at a time, no code of grn.refine."""

import math
from typing import Any

import numpy as np
import torch


def softmax(logits: list[float]) -> list[float]:
    top = max(logits)
    weights = [math.exp(x - top) for x in logits]
    return [w / sum(weights) for w in weights]


def selection_ratio(settings: dict[str, Any], step: int, total: int) -> float:
    """Of the state that `step` sees."""
    warming = settings["adaptive"] and step <= settings["warmup"]
    if warming:
        total = 50
    done = step / total
    if settings["adaptive"] and not warming:
        start = settings["warmup"] / 50
        done = start + (1 - start) * (step - settings["warmup"]) / (total - settings["warmup"])
    if settings["curve"] == "cosine":
        return settings["curve_factor"] * (1 - math.cos(math.pi / 2 * min(1, done * total / (total - 1))))
    return done


@torch.no_grad()
def plain_sample(
    network: Any,
    condition: Any,
    null: Any,
    shape: tuple[int, int, int],
    settings: dict[str, Any],
    seed: int,
    known: tuple[list[int], list[bool], float] | None = None,
) -> tuple[list[int], int]:
    """One sample as (indices in the order of [t, h, w, C], steps). condition, null: one row each; settings: of SamplerConfig.

    known: elements, which of them are fixed, and the progress to start from.
    """
    config = network.config
    full = (*shape, config.elements)
    state_of_seed = np.random.SeedSequence((seed, 0, 0)).generate_state(1, np.uint64)
    random = torch.Generator().manual_seed(int(state_of_seed[0]) >> 1)
    noise = torch.randint(config.classes, full, generator=random).flatten().tolist()
    hidden = [-1] * len(noise) if settings["fill"] == "mask" else noise
    given, fixed, start = known or (noise, [False] * len(noise), 0.0)
    if start > settings["warmup"] / 50:
        settings = {**settings, "adaptive": False}

    def logits_for(what: Any, told: float) -> list[list[float]]:
        maps = torch.tensor(state).view(1, *full)
        return network(maps, torch.tensor([told]), network.prepare(what))[0].reshape(len(noise), -1).tolist()

    total = settings["tmax"] if settings["adaptive"] else settings["steps"]
    first = step = min(math.floor(start * (50 if settings["adaptive"] else total)), total - 1)
    chosen = list(fixed)
    if first:
        chances = torch.rand(full, generator=random).flatten().tolist()
        share = selection_ratio(settings, first, total)
        chosen = [f or chance < share for f, chance in zip(fixed, chances, strict=True)]
    state = [g if c else h for g, c, h in zip(given, chosen, hidden, strict=True)]
    drawing = noise
    before = [g if c else n for g, c, n in zip(given, chosen, noise, strict=True)]
    free = fixed.count(False)
    while step < total:
        ratio = selection_ratio(settings, step, total)
        told = ratio if settings["ratio_of"] == "drawn" else (len(fixed) - free + free * ratio) / len(fixed)
        if settings["ratio_shown"] == "kept":
            outside = len(fixed) - free if settings["ratio_of"] == "drawn" else 0
            told = (sum(chosen) - outside) / (len(chosen) - outside)
        logits = logits_for(condition, told)
        if settings["adaptive"] and step == settings["warmup"]:
            open_rows = [row for row, f in zip(logits, fixed, strict=True) if not f]
            entropies = [-sum(p * math.log(p) for p in softmax(row) if p > 0) / math.log(len(row)) for row in open_rows]
            wanted = settings["k"] * sum(entropies) / len(entropies) + settings["b"]
            total = round(min(max(wanted, settings["tmin"]), settings["tmax"]))
        low, high = settings["guidance_start"], settings["guidance_end"]
        if settings["guidance"] != 1 and ratio < high and (ratio > low or low == 0):
            scale = settings["guidance"]
            others = logits_for(null, told)
            logits = [
                [u + scale * (c - u) for c, u in zip(a, b, strict=True)] for a, b in zip(logits, others, strict=True)
            ]
        temperature = settings["temperature"]
        if settings["adaptive"] and step >= settings["warmup"]:
            temperature *= min(1, max(0.5, 1 - settings["cooling"] * (settings["cooling_from"] - total)))
        shares = [softmax([x / temperature for x in row]) for row in logits]
        drawn = []
        for row, left in zip(shares, torch.rand(full, generator=random).flatten().tolist(), strict=True):
            value = 0
            while value < len(row) - 1 and left >= sum(row[: value + 1]):
                value += 1
            drawn.append(value)
        surest = [row[value] for row, value in zip(shares, drawn, strict=True)]
        drawing = [(v + s) % 2 for v, s in zip(drawn, state, strict=True)] if config.target == "flip" else drawn
        masking = settings["fill"] == "mask"
        held = chosen if masking else fixed
        drawing = [old if h else new for old, h, new in zip(before, held, drawing, strict=True)]
        before, following = drawing, selection_ratio(settings, step + 1, total)
        chances = torch.rand(full, generator=random).flatten().tolist()
        if settings["selection"] == "confidence":
            order = sorted((i for i in range(len(surest)) if not fixed[i]), key=lambda i: (not held[i], -surest[i]))
            best = set(order[: round(following * free)])
            chosen = [held[i] or i in best for i in range(len(surest))]
        else:
            share = (following - ratio) / (1 - ratio) if masking else following
            chosen = [h or chance < share for h, chance in zip(held, chances, strict=True)]
        state = [d if c else h for d, c, h in zip(drawing, chosen, hidden, strict=True)]
        step += 1
    if config.target == "ind":
        return drawing, total - first
    indices = []
    for start in range(0, len(drawing), config.elements):  # round-major: round 1 of every channel, then round 2, ...
        token = drawing[start : start + config.elements]
        for channel in range(config.channels):
            bits = [token[j * config.channels + channel] for j in range(config.rounds)]
            indices.append(sum(bit << (config.rounds - 1 - j) for j, bit in enumerate(bits)))
    return indices, total - first
