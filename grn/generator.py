"""A trained generator as it is used: the network with its name, the fingerprint of its weights and how it is sampled."""

from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from grn.errors import ConfigError, UsageError
from grn.files import display
from grn.models import store
from grn.models.layout import CONFIG
from grn.models.networks import load_network
from grn.networks.class_to_image import ClassToImage
from grn.networks.generator_config import ClassToImageConfig, TextToVisualConfig
from grn.networks.text_to_visual import TextToVisual
from grn.refine.sampler import Sampler, SamplerConfig
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
        """Load by alias, folder or hub name (`grn.models.store.resolve`); dtype None is float32.

        Raises ModelNotFoundError, ConfigError or ModelMismatchError.
        """
        return cls.load(store.resolve(str(name), offline=offline, kind="generator").folder, device, dtype)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu", dtype: torch.dtype | None = None) -> "Generator":
        """Load a model folder. Raises as `from_pretrained` does."""
        config = store.load_config(folder)
        if config["kind"] not in _FAMILIES:
            raise ConfigError(
                f"{display(folder / CONFIG)}: kind: expected {' or '.join(_FAMILIES)}, found {config['kind']!r:.40}; "
                "restore the file"
            )
        fields, family = _FAMILIES[config["kind"]]
        network_config = store.network_config(config, fields, folder)
        try:
            sampling = SamplerConfig(**config.get("sampling", {}))
        except (ValidationError, TypeError) as error:
            said = describe(error, [SamplerConfig]) if isinstance(error, ValidationError) else "expected an object"
            raise ConfigError(f"{display(folder)}: sampling: {said}") from error
        network, fingerprint = load_network(lambda: family(network_config), folder, device, dtype)
        return cls(network, config["name"], fingerprint, sampling)

    @property
    def config(self) -> Any:
        """The network's dimensions, a ClassToImageConfig or TextToVisualConfig."""
        return self.network.config

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self.network.parameters()).device
        return device

    def settings(self, **overrides: Any) -> SamplerConfig:
        """The model's sampling settings with some replaced; None leaves one as it is. UsageError names what does not go together."""
        return sampler_config(self.sampling, **overrides)

    def sampler(self, **overrides: Any) -> Sampler:
        """What draws from the network, with the model's settings or others. Raises UsageError."""
        return Sampler(self.network, self.settings(**overrides))


def sampler_config(base: SamplerConfig, **overrides: Any) -> SamplerConfig:
    """`base` with the fields that are not None replaced. Raises UsageError in one line."""
    chosen = {name: value for name, value in overrides.items() if value is not None}
    try:
        return SamplerConfig(**{**base.model_dump(), **chosen})
    except ValidationError as error:
        raise UsageError(describe(error, [SamplerConfig])) from error
