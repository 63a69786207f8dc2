"""Samples that cannot be read: a few are skipped, too many stop what reads them."""

from collections.abc import Mapping

from grn.errors import BadInputError

_AT_FIRST = 1000  # samples, before the share of bad ones among them says much


class Bad:
    """Counts samples that cannot be read, each once, and stops where they are too many.

    most: the share of samples that may be bad: of those seen, of which there are taken to be 1000 at first, or of all where
    there are fewer.
    """

    def __init__(self, most: float, samples: int) -> None:
        self._most, self._samples = most, samples
        self._seen = 0
        self._found: set[int] = set()

    def add(self, seen: int, found: Mapping[int, str]) -> list[str]:
        """Count `seen` samples more, of which these were bad, by number with what was wrong; the messages that are new.

        Raises BadInputError where they are too many.
        """
        self._seen += seen
        new = {number: message for number, message in found.items() if number not in self._found}
        self._found |= new.keys()
        if new and len(self._found) > self._most * min(self._samples, max(self._seen, _AT_FIRST)):
            more = f" ({len(self._found)} of {self._seen} samples cannot be read)" if len(self._found) > 1 else ""
            raise BadInputError(f"{next(iter(new.values()))}{more}; more are allowed by data.most_bad")
        return list(new.values())
