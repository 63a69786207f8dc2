"""What a person asks for -> what a generator draws from: texts by its encoder, classes by number or name."""

import logging
from collections.abc import Sequence
from difflib import get_close_matches

import torch

from grn.errors import UsageError
from grn.files import display
from grn.generator import Generator
from grn.models.config import ClassToImageModelConfig, Preset, TextToVisualModelConfig
from grn.networks.condition import ClassCondition, Condition
from grn.networks.generator_config import ClassToImageConfig
from grn.text.encoder import TextEncoder
from grn.text.learnt import LearntWords
from grn.text.word_vectors import StaticWordVectors

_log = logging.getLogger("grn")


class PromptReader:
    """Reads prompts for a generator. text: the encoder of a text model's, None for a class model. learnt: the words that its captions had."""

    def __init__(self, generator: Generator, text: TextEncoder | None, learnt: frozenset[str] = frozenset()) -> None:
        self.generator, self.text = generator, text
        self.learnt = LearntWords(text, learnt) if isinstance(text, StaticWordVectors) else None
        self._noted: set[str] = set()  # of how prompts are read, what has been said

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of a class model, the names of its classes in the order of their numbers; empty where it keeps none."""
        about = self.generator.about
        return about.class_names if isinstance(about, ClassToImageModelConfig) else ()

    def preset(self, name: str | None) -> Preset:
        """A preset of the model, one that changes nothing for None. UsageError where there is none of that name."""
        about = self.generator.about
        known = about.presets if isinstance(about, TextToVisualModelConfig) else {}
        if name is not None and name not in known:
            has = f"has {', '.join(known)}" if known else "has none"
            raise UsageError(f"preset {name}: {self.generator.name} {has}; use one of a model's own, or leave it out")
        return Preset() if name is None else known[name]

    def check(self, prompt: str | int) -> None:
        """Check a prompt or class. Raises UsageError, or BadInputError for an unreadable prompt."""
        if self.text is None:
            self.class_number(prompt)
        elif isinstance(prompt, str):
            self.text.check(prompt)
            self._say(logging.WARNING, self.text.notes(prompt))
            if self.learnt is not None and _log.isEnabledFor(logging.INFO):
                self._say(logging.INFO, self.learnt.notes(prompt))
        else:
            raise UsageError(f"{prompt!r}: {self.generator.name} draws from words, not from class numbers")

    def _say(self, level: int, notes: list[str]) -> None:
        """Log what has not been said before."""
        for note in notes:
            if note not in self._noted:
                self._noted.add(note)
                _log.log(level, "%s", display(note))

    def class_number(self, prompt: str | int) -> int:
        """Find the class of a number or name. Raises UsageError where there is none."""
        config = self.generator.config
        count = config.num_classes if isinstance(config, ClassToImageConfig) else 0
        if isinstance(prompt, str) and prompt in self.class_names:
            return self.class_names.index(prompt)
        if isinstance(prompt, int) and 0 <= prompt < count:
            return prompt
        expected = f"0 to {count - 1}"
        if isinstance(prompt, str) and self.class_names:
            near = get_close_matches(prompt, self.class_names, 3) or self.class_names[:3]
            expected += f", or a name such as {', '.join(near)}"
        raise UsageError(f"{prompt!r} is no class of {self.generator.name} (expected {expected})")

    def conditions(
        self, prompts: Sequence[str | int], negative_prompt: str, begun: bool, preset: Preset
    ) -> tuple[Condition, Condition]:
        """Encode prompts as conditions: the samples' own, and the null condition of guidance. begun: whether clips' first frame is given."""
        for prompt in dict.fromkeys(prompts):
            self.check(prompt)
        device = self.generator.device
        if self.text is not None:
            about = self.generator.about
            tag = about.tag(begun) if isinstance(about, TextToVisualModelConfig) else ""
            suffix = preset.image_suffix if begun else preset.suffix
            asked = [f"{tag}{prompt}{suffix}" if prompt else "" for prompt in prompts]
            null = self.text.encode([f"{tag}{negative_prompt}" if negative_prompt else ""]).to(device)
            return self.text.encode(asked).to(device), null.rows(torch.tensor([0]))
        labels = torch.tensor([self.class_number(prompt) for prompt in prompts])
        none = self.generator.network.null_condition(1)
        assert none is not None, "a network that draws from texts, without an encoder of them"
        return ClassCondition(labels).to(device), none.to(device)
