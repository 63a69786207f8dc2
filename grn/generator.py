"""A trained generator as it is used: the network with its name, the fingerprint of its weights and how it is sampled."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from typing_extensions import Unpack

from grn.errors import ModelMismatchError
from grn.files import display
from grn.hub.resolve import resolve
from grn.models.config import GeneratorModelConfig
from grn.models.folder import ModelFolder
from grn.refine.config import SamplerConfig, SamplerOverrides, sampler_config
from grn.refine.sampler import Sampler


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
        return cls.load(resolve(str(name), offline=offline, kind="generator").open(), device, dtype)

    @classmethod
    def load(cls, folder: Path | ModelFolder, device: str = "cpu", dtype: torch.dtype | None = None) -> "Generator":
        """Load a model folder. Raises as `from_pretrained` does."""
        model = ModelFolder.open(folder) if isinstance(folder, Path) else folder
        if not isinstance(model.config, GeneratorModelConfig):
            raise ModelMismatchError(f"{display(model.path)}: is a {model.config.kind}, not a generator")
        network, fingerprint = model.load_network(device, dtype)
        return cls(network, model.config.name, fingerprint, model.config.sampling)

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
