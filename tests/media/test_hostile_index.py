"""Files whose few bytes claim much: looking at them takes no time, no memory and no stack."""

import io
import struct

from grn.media.structure import doubtful, missing_end


def box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), name) + body


def movie(track: bytes, length: int = 1000) -> io.BytesIO:
    head = box(b"mvhd", struct.pack(">12xII", 1000, length))
    return io.BytesIO(box(b"ftyp", b"isom") + box(b"moov", head + box(b"trak", track)))


def test_boxes_in_thousands_of_boxes_break_off() -> None:
    nested = b""
    for _ in range(5000):
        nested = box(b"stbl", nested)
    assert missing_end(movie(nested), "mov") == "its structure breaks off"


def test_a_table_that_claims_more_frames_than_films_have_is_not_written_out() -> None:
    many = 2**31
    tables = box(b"stts", struct.pack(">IIII", 0, 1, many, 1)) + box(b"stsz", struct.pack(">III", 0, 1, many))
    media = box(b"mdhd", struct.pack(">12xII", 1000, many)) + box(b"hdlr", bytes(8) + b"vide" + bytes(12))
    edits = box(b"edts", box(b"elst", struct.pack(">IIIi4x", 0, 1, 10, 0)))
    film = movie(box(b"mdia", media + box(b"minf", box(b"stbl", tables))) + edits, many)
    assert missing_end(film, "mov") is None
    assert doubtful(film, "mov") is None  # 16 GB of times otherwise


def test_lists_in_thousands_of_lists_are_damage() -> None:
    nested = b""
    for _ in range(5000):
        nested = b"LIST" + struct.pack("<I", 4 + len(nested)) + b"rec " + nested
    frames = b"LIST" + struct.pack("<I", 4 + len(nested)) + b"movi" + nested
    film = io.BytesIO(b"RIFF" + struct.pack("<I", 4 + len(frames)) + b"AVI " + frames)
    assert "part called LIST" in (doubtful(film, "avi") or "")
