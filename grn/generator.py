"""A trained generator as it is used: the network with what its folder says of it and the fingerprint of its weights."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from typing_extensions import Self, Unpack

from grn.devices import fast_type
from grn.errors import ModelMismatchError, UsageError
from grn.files import display
from grn.hub.resolve import resolve
from grn.models.config import GeneratorModelConfig
from grn.models.folder import ModelFolder
from grn.networks.class_to_image import ClassToImage
from grn.networks.compiling import Compiling, compile_blocks, forward_flop, pays
from grn.networks.generator_config import ClassToImageConfig, TextToVisualConfig
from grn.networks.text_to_visual import TextToVisual
from grn.refine.config import SamplerConfig, SamplerOverrides, sampler_config
from grn.refine.sampler import Sampler

_log = logging.getLogger("grn")

Network = ClassToImage | TextToVisual


@dataclass(frozen=True)
class Unread:
    """A network that is read from its folder when it is first needed; offload: see `Generator.load`."""

    model: ModelFolder
    device: str
    dtype: torch.dtype
    offload: bool = False

    def read(self) -> Network:
        """Raises what `ModelFolder.load_weights` does."""
        network: Network
        if self.offload:
            network = self.model.load_offloaded(self.device, self.dtype)
        else:
            network, _ = self.model.load_network(self.device, self.dtype)
        return network


class Generator:
    """Conditions -> token maps: `sampler().run(condition, null, (t, h, w))`.

    about: what config.json says of the model.
    """

    def __init__(self, network: Network | Unread, about: GeneratorModelConfig, fingerprint: str) -> None:
        self._network = network if isinstance(network, Unread) else network.eval().requires_grad_(False)
        self.about, self.fingerprint = about, fingerprint
        self.offloaded = isinstance(network, Unread) and network.offload
        self._compiled = False

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
    def load(
        cls,
        folder: Path | ModelFolder,
        device: str = "cpu",
        dtype: torch.dtype | None = None,
        *,
        offload: bool = False,
        later: bool = False,
    ) -> Self:
        """Load a model folder. Raises as `from_pretrained` does.

        offload: only the block in use lies on the device; the others wait in the computer's memory, or, where that is the
        device, in their file. later: weights are read when the network is first needed, and what is wrong is raised then.
        """
        model = ModelFolder.open(folder) if isinstance(folder, Path) else folder
        if not isinstance(model.config, GeneratorModelConfig):
            raise ModelMismatchError(
                f"{display(model.path)}: kind: expected a generator, found {model.config.kind!r:.40}"
            )
        unread = Unread(model, device, dtype or fast_type(device), offload)
        made = cls(unread, model.config, model.config.weights_sha256)
        if not later:
            _ = made.network
        return made

    @property
    def network(self) -> Network:
        """(token map, selection ratio, prepared condition) -> logits."""
        if isinstance(self._network, Unread):
            self._network = self._network.read()
        return self._network

    @property
    def name(self) -> str:
        return self.about.name

    @property
    def sampling(self) -> SamplerConfig:
        """The model's own settings, of pictures where it has others for clips."""
        return self.about.sampling

    @property
    def config(self) -> ClassToImageConfig | TextToVisualConfig:
        """The network's dimensions."""
        config: ClassToImageConfig | TextToVisualConfig = self.about.network
        return config

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        if isinstance(self._network, Unread):
            return torch.device(self._network.device)
        return next(self._network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The number format that it computes in."""
        return self._network.dtype if isinstance(self._network, Unread) else next(self._network.parameters()).dtype

    def to(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move the network, or change its number format. UsageError where it is offloaded."""
        self.check_whole()
        self.network.to(device=device, dtype=dtype)
        return self

    def check_whole(self) -> None:
        """Raise UsageError where the network is offloaded: its weights are not in it."""
        if self.offloaded:
            raise UsageError(f"{self.name}: is offloaded, so it can only be drawn from; load it without offload")

    def compile(self, wanted: Compiling, tokens: float) -> None:
        """Compile the network, once, where that is wanted for passes of so many tokens in all (`grn.networks.compiling.pays`)."""
        if self._compiled or self.offloaded:
            return
        if pays(wanted, self.device, self.dtype, forward_flop(self.network, tokens)):
            compile_blocks(self.network)
            self._compiled = True
            _log.info("%s: compiled for %s", self.name, self.device.type)

    def settings(self, clip: bool = False, **overrides: Unpack[SamplerOverrides]) -> SamplerConfig:
        """The model's sampling settings with some replaced; None leaves one as it is. UsageError names what does not go together.

        clip: those for clips, where a model that draws pictures too has them.
        """
        return sampler_config(self.about.sampled(clip), **overrides)

    def sampler(self, **overrides: Unpack[SamplerOverrides]) -> Sampler:
        """What draws from the network, with the model's settings or others. Raises UsageError."""
        return Sampler(self.network, self.settings(**overrides))
