"""Nothing but an unaltered codes file is ever accepted, and refusing one costs nothing."""

import functools
import hashlib
import io
import itertools
import json
import random
import re
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from helpers.codes import codes_file, load_codes, make_codes, naive_load

from grn.codes import Codes
from grn.codes import container as layout
from grn.errors import CodesError

# Damage

SIZES = {"2 KiB": (1, 16, 16, 16), "16 KiB": (8, 16, 16, 16), "1 MiB": (32, 64, 64, 16)}


def damage(data: bytes, rng: random.Random) -> bytes:
    """One piece of random damage, half of the time near the headers at the ends."""
    ends = [rng.randrange(700), len(data) - 1 - rng.randrange(300)]
    at = rng.choice(ends) if rng.random() < 0.5 else rng.randrange(len(data))
    end = min(at + rng.choice([1, 1, 2, 4, 16, 200]), len(data))
    head, hit, tail, noise = data[:at], data[at:end], data[end:], rng.randbytes(end - at)
    elsewhere = rng.randrange(len(data) - len(hit))
    kinds = [
        lambda: head + bytes([hit[0] ^ (1 << rng.randrange(8))]) + hit[1:] + tail,
        lambda: head + noise + tail,
        lambda: head + bytes(len(hit)) + tail,
        lambda: head + noise + hit + tail,
        lambda: head + tail,
        lambda: head + data[elsewhere : elsewhere + len(hit)] + tail,
        lambda: head,
        lambda: data + noise,
        lambda: data + data,
    ]
    return rng.choice(kinds)()


def mutants(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    rng = random.Random(seed)
    every = (damage(data, rng) for _ in itertools.count())
    return itertools.islice((mutant for mutant in every if mutant != data), count)


def accepted(data: bytes) -> bool:
    """Whether the reader takes it; any exception but CodesError fails the test."""
    try:
        load_codes(data)
    except CodesError:
        return False
    return True


@pytest.mark.parametrize("size", SIZES)
def test_no_mutant_is_accepted(size: str) -> None:
    data = make_codes(SIZES[size]).to_bytes()
    load_codes(data)
    slowest = 0.0
    for number, mutant in enumerate(mutants(data, 1000, seed=7)):
        start = time.thread_time()
        assert not accepted(mutant), f"mutant {number}"
        slowest = max(slowest, time.thread_time() - start)
    assert slowest < 1


def test_the_mutants_would_fool_a_naive_reader() -> None:
    data = make_codes(SIZES["16 KiB"]).to_bytes()
    fooled, kinds = 0, set()
    for mutant in mutants(data, 300, seed=7):
        try:
            naive_load(mutant)
            fooled += 1
        except Exception as error:
            kinds.add(type(error))
    assert fooled > 0
    assert len(kinds) > 1


def test_every_bit_outside_the_codes_counts() -> None:
    data = make_codes((1, 4, 4, 16)).to_bytes()
    start = data.index(b"codes.npy")
    for at in [*range(start + 73), *range(len(data) - 130, len(data))]:
        for flip in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            assert not accepted(data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]), f"byte {at} ^ {flip}"


def test_every_truncation_is_rejected() -> None:
    data = make_codes((1, 16, 16, 28)).to_bytes()
    assert len(data) > 4096
    load_codes(data)
    for end in range(len(data)):
        assert not accepted(data[:end]), end


# Forgery: everything consistent but what is claimed


def forge(change: Callable[[dict[str, Any]], Any] | bytes, payload: bytes | None = None) -> bytes:
    codes = make_codes()
    with np.load(io.BytesIO(codes.to_bytes())) as arrays:
        meta, planes = json.loads(arrays["meta"].tobytes()), arrays["codes"].tobytes()
    if callable(change):
        change(meta)
        change = json.dumps(meta).encode()
    return codes_file(change, planes if payload is None else payload)


def test_forging_nothing_is_accepted() -> None:
    assert load_codes(forge(lambda meta: None)).rounds == 4


DESCRIPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "larger": ({"shape": [1, 16, 16, 17], "width": 999}, "another size"),
    "smaller": ({"shape": [1, 16, 16, 15]}, "another size"),
    "negative": ({"shape": [1, -16, -16, 16]}, "shape is [1, -16, -16, 16] (expected four positive whole numbers)"),
    "float": ({"shape": [1, 16.0, 16, 16]}, "shape is"),
    "true": ({"shape": [True, 16, 16, 16]}, "shape is"),
    "zero": ({"shape": [0, 16, 16, 16]}, "shape is"),
    "huge": ({"shape": [2**33, 2**31, 1, 1], "frames": 2**33}, "shape is"),
    "large": ({"shape": [1, 2**20, 2**20, 16], "height": 2**20, "width": 2**20}, "at most 4 GiB"),
    "absurd": ({"shape": [10**4000, 1, 1, 1]}, "shape is"),
    "7-D": ({"shape": [1, 1, 1, 1, 16, 16, 16]}, "shape is"),
    "no shape": ({"shape": None}, "shape is None"),
    "rounds 0": ({"rounds": 0}, "rounds is 0 (expected 1 to 16)"),
    "rounds 17": ({"rounds": 17}, "rounds is 17 (expected 1 to 16)"),
    "fewer rounds": ({"rounds": 3}, "another size"),
    "frames": ({"frames": 2}, "an image has 2 frames"),
    "no frames": ({"frames": 0}, "frames is 0 (expected at least 1"),
    "height": ({"height": 15}, "height is 15 (expected at least 16"),
    "width": ({"width": "256"}, "width is '256'"),
    "kind": ({"kind": "audio"}, "kind is 'audio' (expected image or video)"),
    "fps of an image": ({"fps": 25}, "an image has 1 frames at 25 fps"),
    "fps nan": ({"kind": "video", "fps": float("nan")}, "fps is nan"),
    "fps infinite": ({"kind": "video", "fps": float("inf")}, "fps is inf"),
    "fps huge": ({"kind": "video", "fps": 10**400}, "fps is 1000"),
    "tokenizer": ({"tokenizer": 3}, "tokenizer is 3"),
    "long name": ({"tokenizer": "x" * 257}, "at most 256 characters"),
    "fingerprint": ({"fingerprint": "0" * 63}, "fingerprint is"),
    "dtype": ({"dtype": 16}, "dtype is 16 (expected the name of a number format, or nothing)"),
    "dtype of two lines": ({"dtype": "float32\n"}, "dtype is 'float32\\n'"),
    "fingerprint list": ({"fingerprint": [0] * 64}, "fingerprint is"),
    "sha256": ({"sha256": "0" * 64}, "do not match their checksum"),
    "no sha256": ({"sha256": None}, "sha256 is missing"),
    "format": ({"format": "other"}, "expected format grn-codes"),
    "version": ({"version": 2}, "has version 2 of the format, newer than this grn reads (up to 1); upgrade grn"),
    "version 0": ({"version": 0}, "has version 0"),
    "version text": ({"version": "2"}, "has version '2'"),
    "required feature": ({"requires": ["entropy-coding"]}, "needs ['entropy-coding'], which this grn does not know"),
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_forged_description(name: str) -> None:
    changes, message = DESCRIPTIONS[name]
    with pytest.raises(CodesError, match=re.escape(message)):
        load_codes(forge(lambda meta: meta.update(changes)))


def test_unknown_optional_field_is_ignored() -> None:
    assert load_codes(forge(lambda meta: meta.update(colour="sRGB", requires=[]))).rounds == 4


@pytest.mark.parametrize(
    "meta", [b"", b"[]", b"null", b"\xff", b"{", b"[" * 60_000, b"1" * 5000, b'{"format":"grn-codes"}']
)
def test_description_that_is_none(meta: bytes) -> None:
    with pytest.raises(CodesError):
        load_codes(forge(meta))


def test_bits_after_the_last_code() -> None:
    data = make_codes((1, 1, 1, 3), rounds=1).to_bytes()
    with np.load(io.BytesIO(data)) as arrays:
        meta = json.loads(arrays["meta"].tobytes())
    meta["sha256"] = hashlib.sha256(b"\xff").hexdigest()
    with pytest.raises(CodesError, match="bits after the last code"):
        load_codes(codes_file(json.dumps(meta).encode(), b"\xff"))


def as_numpy_saves(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def test_other_archives_are_refused() -> None:
    with np.load(io.BytesIO(make_codes().to_bytes())) as arrays:
        parts = dict(arrays)
    objects = np.array([{"a": 1}], dtype=object)
    for other in (
        as_numpy_saves(**parts),
        as_numpy_saves(**parts, extra=np.zeros(3)),
        as_numpy_saves(meta=parts["meta"]),
        as_numpy_saves(meta=parts["meta"], codes=parts["codes"].astype(np.float32)),
        as_numpy_saves(meta=parts["meta"], codes=objects),
    ):
        with pytest.raises(CodesError, match="is not a codes file"):
            load_codes(other)


# Bombs


class Endless(io.RawIOBase):
    """A beginning, then zeros forever; counts what was taken."""

    def __init__(self, start: bytes) -> None:
        self.start = start
        self.taken = 0

    def read(self, size: int = -1) -> bytes:
        assert size >= 0, "asked for everything"
        chunk = self.start[self.taken : self.taken + size].ljust(size, b"\0")
        self.taken += size
        return chunk


def compressed(meta: bytes, codes: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (("meta.npy", meta), ("codes.npy", codes)):
            archive.writestr(zipfile.ZipInfo(name), layout.array_header(len(data)) + data, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


@functools.cache
def bombs() -> dict[str, bytes]:
    valid = make_codes().to_bytes()
    meta_size = 2**31
    huge = json.loads(forge(lambda meta: None)[102:].split(b"PK")[0])
    huge.update(shape=[1, 2**14, 2**14, 16], height=2**18, width=2**18, rounds=4)
    raw = json.dumps(huge).encode()
    return {
        "deflated": compressed(raw, bytes(50_000_000)),
        "huge meta": layout.Member(b"meta.npy", meta_size, 0).local_header() + valid[38:],
        "meta beyond its bound": layout.Member(b"meta.npy", 2**17, 0).local_header() + bytes(2**17),
        "npy header of 1 GiB": valid[:38] + b"\x93NUMPY\2\0" + (2**30).to_bytes(4, "little") + bytes(10**6),
        "2 GiB claimed, nothing there": codes_file(raw, b"")[:-200],
        "2 GiB claimed, zeros there": forge(raw, b"\0"),
    }


@pytest.mark.parametrize("name", bombs())
def test_bombs_cost_nothing(name: str) -> None:
    data = bombs()[name]
    tracemalloc.start()
    start = time.thread_time()
    with pytest.raises(CodesError):
        load_codes(data)
    elapsed, (_, peak) = time.thread_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert elapsed < 1
    assert peak < 64 * 2**20


@pytest.mark.parametrize("start", [b"", b"PK\3\4", make_codes().to_bytes()])
def test_endless_input_is_left_after_what_a_file_could_hold(start: bytes) -> None:
    stream = Endless(start)
    with pytest.raises(CodesError):
        Codes.load(stream)  # type: ignore[arg-type]
    assert stream.taken <= len(start) + 200


def test_claimed_size_is_read_piece_by_piece() -> None:
    meta = json.loads(forge(lambda meta: None)[102:].split(b"PK")[0])
    meta.update(shape=[1, 2**14, 2**14, 16], height=2**18, width=2**18)
    raw = json.dumps(meta).encode()
    size = 4 * 2**14 * 2**14 * 16 // 8
    head = codes_file(raw, b"")[: -(64 + 39 + 22 + 109)]
    header = layout.array_header(size)
    data = head + layout.Member(b"codes.npy", len(header) + size, zlib.crc32(b"")).local_header() + header
    tracemalloc.start()
    with pytest.raises(CodesError, match=re.escape(f"is cut short (expected {size} more bytes, found 10)")):
        load_codes(data + bytes(10))
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()
