"""Codes: what an image or clip is once it is tokenized, and the file that holds it."""

from grn.codes.codes import Codes, PackedCodes

__all__ = ["Codes", "PackedCodes"]
