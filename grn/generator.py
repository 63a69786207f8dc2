"""A trained generator as it is used: the network with its name, the fingerprint of its weights and how it is sampled."""

from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn
from typing_extensions import Unpack

from grn.errors import ConfigError
from grn.files import display
from grn.hub.resolve import resolve
from grn.models.folder import load_config, load_network, network_config
from grn.models.tensors import CONFIG
from grn.networks.class_to_image import ClassToImage
from grn.networks.generator_config import ClassToImageConfig, TextToVisualConfig
from grn.networks.text_to_visual import TextToVisual
from grn.refine.config import SamplerConfig, SamplerOverrides, sampler_config
from grn.refine.sampler import Sampler
from grn.validation import describe

_FAMILIES: dict[str, tuple[Any, Any]] = {
    "class-to-image": (ClassToImageConfig, ClassToImage),
    "text-to-visual": (TextToVisualConfig, TextToVisual),
}


class Generator:
    """Conditions -> token maps: `sampler().run(condition, null, (t, h, w))`.

    network: (token map, selection ratio, prepared condition) -> logits. sampling: the model's own settings.
    """

    def __init__(self, network: nn.Module, name: str, fingerprint: str, sampling: SamplerConfig) -> None:
        self.network: Any = network.eval().requires_grad_(False)
        self.name, self.fingerprint, self.sampling = name, fingerprint, sampling

    @classmethod
    def from_pretrained(
        cls, name: str | Path, device: str = "cpu", dtype: torch.dtype | None = None, offline: bool = False
    ) -> "Generator":
        """Load by alias, folder or hub name (`grn.hub.resolve.resolve`); dtype None is float32.

        Raises ModelNotFoundError, ConfigError or ModelMismatchError.
        """
        return cls.load(resolve(str(name), offline=offline, kind="generator").folder, device, dtype)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu", dtype: torch.dtype | None = None) -> "Generator":
        """Load a model folder. Raises as `from_pretrained` does."""
        config = load_config(folder)
        if config["kind"] not in _FAMILIES:
            raise ConfigError(
                f"{display(folder / CONFIG)}: kind: expected {' or '.join(_FAMILIES)}, found {config['kind']!r:.40}; "
                "restore the file"
            )
        fields, family = _FAMILIES[config["kind"]]
        sizes = network_config(config, fields, folder)
        try:
            sampling = SamplerConfig(**config.get("sampling", {}))
        except (ValidationError, TypeError) as error:
            said = describe(error, [SamplerConfig]) if isinstance(error, ValidationError) else "expected an object"
            raise ConfigError(f"{display(folder)}: sampling: {said}") from error
        network, fingerprint = load_network(lambda: family(sizes), folder, device, dtype)
        return cls(network, config["name"], fingerprint, sampling)

    @property
    def config(self) -> Any:
        """The network's dimensions, a ClassToImageConfig or TextToVisualConfig."""
        return self.network.config

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self.network.parameters()).device
        return device

    def settings(self, **overrides: Unpack[SamplerOverrides]) -> SamplerConfig:
        """The model's sampling settings with some replaced; None leaves one as it is. UsageError names what does not go together."""
        return sampler_config(self.sampling, **overrides)

    def sampler(self, **overrides: Unpack[SamplerOverrides]) -> Sampler:
        """What draws from the network, with the model's settings or others. Raises UsageError."""
        return Sampler(self.network, self.settings(**overrides))
