"""Names of what commands write."""

from pathlib import Path
from typing import Any


def test_the_longest_names(grn: Any, tokenizer: Path, here: Path) -> None:
    """A name that has no room for the longer suffix, or a number, is cut."""
    name = "a" * 252
    (here / f"{name}.ts").write_bytes((here / "photo.png").read_bytes())
    assert grn("tokenize", f"{name}.ts", "photo.png", "--tokenizer", tokenizer).text == f"{name[1:]}.npz\nphoto.npz\n"
    assert grn("tokenize", f"{name}.ts", "--tokenizer", tokenizer).text == f"{name[3:]}-2.npz\n"
    assert (here / f"{name[3:]}-2.npz").read_bytes() == (here / f"{name[1:]}.npz").read_bytes()
