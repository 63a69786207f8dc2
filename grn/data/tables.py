"""Data sets of the `datasets` library: of the hub, or folders that it has saved."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from grn.data.samples import Sample, Unreadable, wordings
from grn.errors import BadInputError, EnvironmentFaultError
from grn.files import display, is_file

PREFIX = "datasets:"
_CAPTIONS = ("captions", "caption", "text")
_MOST_CLASSES = 2**31 - 1
_BATCH = 10_000  # rows that are looked at together


class Table(Sequence[Sample]):
    """The rows of a data set. Its first column of images is the picture; "captions", "caption" or "text" is the caption, "label" the class.

    Classes are numbers, or names, which are numbered in their order.
    """

    def __init__(self, rows: Any, place: str) -> None:
        """rows: a `datasets.Dataset`. Raises BadInputError where it has no images."""
        from datasets import ClassLabel, Image, Value

        images = [name for name, feature in rows.features.items() if isinstance(feature, Image)]
        if not images:
            raise BadInputError(f"{display(place)}: no column holds images (found {', '.join(rows.features)})")
        self._image, self.place = images[0], place
        self._rows = rows.cast_column(images[0], Image(decode=False))
        # Further pictures and sounds are no facts, and would be decoded with every row.
        self._others = [name for name, one in rows.features.items() if not hasattr(one, "decode_example")]
        self._caption = next((name for name in _CAPTIONS if name in rows.features), None)
        kind = rows.features.get("label")
        self._numbers: dict[str, int] | None = None
        if isinstance(kind, Value) and kind.dtype == "string":
            names = sorted(name for name in rows.unique("label") if name is not None)
            self._numbers = {name: number for number, name in enumerate(names)}
        self._labelled = self._numbers is not None or "int" in str(getattr(kind, "dtype", ""))
        named = kind.names if isinstance(kind, ClassLabel) else self._numbers
        self.classes: tuple[str, ...] = tuple(named or ())

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        number = range(len(self))[index]
        row = self._rows.select_columns(self._others)[number] if self._others else {}
        text = row.get(self._caption) if self._caption else None
        info = {"captions": text} if isinstance(text, list) else {}
        label = self._number(row.get("label"))
        place = f"{self.place}: {number}"
        caption = text if isinstance(text, str) else ""
        read: Callable[[], bytes] = _Picture(self._rows, self._image, number)
        try:
            wordings("", info)
        except ValueError as error:
            read = Unreadable(f"{display(place)}: {error}")
        return Sample(str(number), read, caption, None if label < 0 else label, {**row, **info}, place)

    def _number(self, label: Any) -> int:
        """The class that a row's label stands for; -1: none."""
        if label is None or not self._labelled:
            return -1
        return self._numbers[label] if self._numbers is not None else max(-1, min(int(label), _MOST_CLASSES))

    def identity(self, numbers: "range | np.ndarray") -> str:
        """What the samples of these numbers follow from."""
        return f"{self._rows._fingerprint} {hashlib.sha256(np.array(numbers).tobytes()).hexdigest()}"

    def labels(self) -> np.ndarray:
        """As `Source.labels`."""
        if not self._labelled:
            return np.full(len(self), -1, np.int32)
        batches = self._rows.select_columns(["label"]).iter(_BATCH)
        return np.array([self._number(label) for batch in batches for label in batch["label"]], np.int32)

    def captioned(self) -> np.ndarray:
        """As `Source.captioned`."""
        if self._caption is None:
            return np.zeros(len(self), bool)
        batches = self._rows.select_columns([self._caption]).iter(_BATCH)
        return np.array([bool(text) for batch in batches for text in batch[self._caption]])


class _Picture:
    """Reads the file of a row."""

    def __init__(self, rows: Any, column: str, number: int) -> None:
        self.rows, self.column, self.number = rows, column, number

    def __call__(self) -> bytes:
        value = self.rows.select_columns([self.column])[self.number][self.column] or {}
        if value.get("bytes"):
            return bytes(value["bytes"])
        return Path(value.get("path") or "").read_bytes()


def is_saved(folder: Path) -> bool:
    """Whether a folder is a data set that the library has saved."""
    whole = is_file(folder / "dataset_info.json") and is_file(folder / "state.json")
    return whole or is_file(folder / "dataset_dict.json")


def open_table(name: str) -> Table:
    """A saved folder, or "datasets:NAME" or "datasets:NAME:SPLIT" of the hub or a folder, by default the split "train".

    Raises BadInputError where it cannot be had, EnvironmentFaultError where the library is not installed.
    """
    try:
        import datasets
    except ImportError as error:
        raise EnvironmentFaultError(f"{display(name)}: needs the package datasets; install grn[data]") from error
    try:
        hub, _, split = name.removeprefix(PREFIX).partition(":") if name.startswith(PREFIX) else (name, "", "")
        if not is_saved(Path(hub)):
            return Table(datasets.load_dataset(hub, split=split or "train"), name)
        saved = datasets.load_from_disk(hub)
        return Table(saved[split or "train"] if isinstance(saved, datasets.DatasetDict) else saved, name)
    except BadInputError:
        raise
    except Exception as error:  # the library raises anything
        raise BadInputError(f"{display(name)}: cannot be opened ({display(str(error))[:200]})") from error
