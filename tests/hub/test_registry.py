"""The table of known names, and the sizes behind them."""

import subprocess
import sys

import pytest
import torch

from grn.hub import registry
from grn.models.folder import NETWORKS
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.generator_config import ClassToImageConfig
from grn.networks.presets import PRESETS
from grn.refine.config import SamplerConfig


@pytest.mark.parametrize(
    ("name", "millions", "rounding"),
    [
        ("grn-b", 130, 1),
        ("grn-l", 458, 1),
        ("grn-h", 952, 1),
        ("grn-g", 2000, 100),
        ("grn-t2i", 2200, 100),
        ("grn-t2v", 2200, 100),
    ],
)
def test_presets_have_the_papers_numbers_of_parameters(name: str, millions: int, rounding: int) -> None:
    config = PRESETS[name]
    with torch.device("meta"):
        network = NETWORKS[config.kind](config)
    count = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert abs(count - millions) < rounding
    assert abs(count - registry.ENTRIES[name].parameters / 1e6) < rounding


@pytest.mark.parametrize(("name", "channels"), [("hbq-16", 16), ("hbq-64", 64)])
def test_the_published_tokenizers_size_is_what_the_table_says(name: str, channels: int) -> None:
    with torch.device("meta"):
        network = NETWORKS["tokenizer"](TokenizerConfig(channels=channels))
    count = sum(parameter.numel() for parameter in network.parameters())
    assert abs(count - registry.ENTRIES[name].parameters) < 1e6
    assert registry.ENTRIES[name].approximate_bytes == 4 * registry.ENTRIES[name].parameters


def test_entries_agree_with_presets_and_samplers() -> None:
    for name, entry in registry.ENTRIES.items():
        assert entry.name == name
        SamplerConfig(**entry.sampling)
        if name not in registry.names("generator"):
            assert entry.tokenizer is entry.text_encoder is None
        else:
            assert registry.ENTRIES[str(entry.tokenizer)].kind == "tokenizer"
        if entry.text_encoder:
            assert registry.ENTRIES[entry.text_encoder].kind == "text-encoder"
        if name in PRESETS:
            assert PRESETS[name].kind == entry.kind
        assert (entry.file is None) == (entry.repo is None)
        assert (entry.frames > 1) == (entry.fps is not None)
        assert (entry.vocabulary is not None) == (entry.kind == "text-encoder")


def test_the_published_class_models_are_sampled_as_published() -> None:
    config = SamplerConfig(**registry.ENTRIES["grn-b"].sampling)
    assert (config.steps, config.temperature, config.guidance) == (50, 1.31, 2.35)
    assert (config.guidance_start, config.guidance_end) == (0.44, 1.0)


def test_names_are_listed_by_kind() -> None:
    assert registry.names("tokenizer") == ("emoji-tokenizer", "hbq-16", "hbq-64")
    assert registry.names("class-to-image") == ("grn-b", "grn-l", "grn-h", "grn-g")
    assert registry.names("generator") == (
        "emoji",
        *registry.names("class-to-image"),
        "grn-t2i",
        "grn-t2v",
        "grn-8b",
        "grn-8b-t2i",
    )
    kinds = ("tokenizer", "generator", "text-encoder")
    assert set(registry.names()) == {name for kind in kinds for name in registry.names(kind)}
    assert registry.names("text-encoder") == ("umt5-xxl",)
    assert {registry.DEFAULT_MODEL, registry.DEFAULT_TOKENIZER} <= set(registry.names())


def test_the_table_is_read_without_torch() -> None:
    code = "import sys; from grn.hub import registry; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_class_presets_differ_only_where_the_paper_says() -> None:
    presets = [config for config in PRESETS.values() if isinstance(config, ClassToImageConfig)]
    assert [(c.depth, c.width, c.heads, c.bottleneck, c.context_start) for c in presets] == [
        (12, 768, 12, 128, 4),
        (24, 1024, 16, 128, 8),
        (32, 1280, 16, 256, 10),
        (40, 1664, 16, 256, 10),
    ]
