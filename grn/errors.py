"""What can go wrong for a user of grn, by kind.

Every message says what is wrong, where, and what to do about it, in one line. Mistakes in calling code are assertions
instead.
"""

from pathlib import Path


class GrnError(Exception):
    """Base of everything that grn raises on purpose."""


class UsageError(GrnError):
    """Arguments that contradict each other or lie outside their range."""


class BadInputError(GrnError):
    """An image, video, caption or archive that cannot be read as what it claims to be."""


class CodesError(GrnError):
    """A codes file that is damaged, inconsistent or newer than this version."""


class ConfigError(GrnError):
    """A recipe or model config with a wrong key, type or value."""


class ModelNotFoundError(GrnError):
    """No model of that name in any of the places searched.

    name: what was asked for. lack: what would help: the "network", another "name", a "folder" in place of a file,
    "files" of one's own where the hub has them no more, a "vocabulary"; "" for what the message says itself.
    """

    def __init__(self, message: str, *, name: str = "", lack: str = "") -> None:
        super().__init__(message)
        self.name, self.lack = name, lack


class ModelMismatchError(GrnError):
    """Weights, configs or codes that do not belong together."""


class UndecidedError(ModelMismatchError):
    """A checkpoint that does not tell one of its settings. setting: which one. choices: what it can be, if that is known."""

    def __init__(self, message: str, setting: str, choices: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.setting, self.choices = setting, choices


class EnvironmentFaultError(GrnError):
    """The machine's fault rather than the user's: disk, memory, device, network, a busy run folder."""


class BusyError(EnvironmentFaultError):
    """Another process has what only one may have. path: the lock file. owner: who has it, "" where that is unknown."""

    def __init__(self, message: str, path: Path, owner: str) -> None:
        super().__init__(message)
        self.path, self.owner = path, owner


class TrainingDivergedError(GrnError):
    """A loss or gradient that is not finite; raised before the update that it would have spoilt."""
