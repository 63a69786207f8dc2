"""Names of image and video files: what is read and what is written, two lists each. Compare in lower case (`suffix_of`).

A suffix only says which files of a folder are looked at; what a file holds is told by its bytes (`sniff`).
"""

from pathlib import PurePath

READ_IMAGE_SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    *(".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"),
)
READ_CLIP_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".webm", ".mkv", ".avi"),
    *(".ts", ".mts", ".m2ts", ".m2t", ".mpg", ".mpeg", ".vob"),
    *(".gif", ".webp", ".apng"),
)
READ_SUFFIXES = tuple(dict.fromkeys(READ_IMAGE_SUFFIXES + READ_CLIP_SUFFIXES))

WRITE_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
WRITE_CLIP_SUFFIXES = (".mp4", ".mov", ".webm", ".gif", ".webp")


def suffix_of(path: str | PurePath) -> str:
    """The suffix in lower case, with its dot; empty where there is none."""
    return PurePath(path).suffix.lower()
