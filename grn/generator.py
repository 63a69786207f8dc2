"""A trained generator as it is used: the network with what its folder says of it and the fingerprint of its weights."""

from pathlib import Path

import torch
from typing_extensions import Self, Unpack

from grn.devices import fast_type
from grn.errors import ModelMismatchError
from grn.files import display
from grn.hub.resolve import resolve
from grn.models.config import GeneratorModelConfig
from grn.models.folder import ModelFolder
from grn.networks.class_to_image import ClassToImage
from grn.networks.generator_config import ClassToImageConfig, TextToVisualConfig
from grn.networks.text_to_visual import TextToVisual
from grn.refine.config import SamplerConfig, SamplerOverrides, sampler_config
from grn.refine.sampler import Sampler


class Generator:
    """Conditions -> token maps: `sampler().run(condition, null, (t, h, w))`.

    network: (token map, selection ratio, prepared condition) -> logits. about: what config.json says of the model.
    """

    def __init__(self, network: ClassToImage | TextToVisual, about: GeneratorModelConfig, fingerprint: str) -> None:
        self.network, self.about, self.fingerprint = network.eval().requires_grad_(False), about, fingerprint

    @classmethod
    def from_pretrained(
        cls, name: str | Path, device: str = "cpu", dtype: torch.dtype | None = None, offline: bool = False
    ) -> Self:
        """Load by alias, folder or hub name (`grn.hub.resolve.resolve`).

        dtype None: bfloat16 where the device multiplies it faster, else float32, in which a picture repeats exactly.
        Raises ModelNotFoundError, ConfigError or ModelMismatchError.
        """
        return cls.load(resolve(str(name), offline=offline, kind="generator").open(), device, dtype)

    @classmethod
    def load(cls, folder: Path | ModelFolder, device: str = "cpu", dtype: torch.dtype | None = None) -> Self:
        """Load a model folder. Raises as `from_pretrained` does."""
        model = ModelFolder.open(folder) if isinstance(folder, Path) else folder
        if not isinstance(model.config, GeneratorModelConfig):
            raise ModelMismatchError(
                f"{display(model.path)}: kind: expected a generator, found {model.config.kind!r:.40}"
            )
        network, fingerprint = model.load_network(device, dtype or fast_type(device))
        return cls(network, model.config, fingerprint)

    @property
    def name(self) -> str:
        return self.about.name

    @property
    def sampling(self) -> SamplerConfig:
        """The model's own settings."""
        return self.about.sampling

    @property
    def config(self) -> ClassToImageConfig | TextToVisualConfig:
        """The network's dimensions."""
        return self.network.config

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.network.parameters()).dtype

    def to(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move the network, or change its number format."""
        self.network.to(device=device, dtype=dtype)
        return self

    def settings(self, **overrides: Unpack[SamplerOverrides]) -> SamplerConfig:
        """The model's sampling settings with some replaced; None leaves one as it is. UsageError names what does not go together."""
        return sampler_config(self.sampling, **overrides)

    def sampler(self, **overrides: Unpack[SamplerOverrides]) -> Sampler:
        """What draws from the network, with the model's settings or others. Raises UsageError."""
        return Sampler(self.network, self.settings(**overrides))
