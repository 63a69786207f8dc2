"""What a generator is trained on, of a sample of tokenized data: its codes, and a caption as its text encoder reads it.

Axes: texts are float [L, D].
"""

import io
import json

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from grn.codes import PackedCodes
from grn.data.samples import FilePart, Sample
from grn.data.sides import MIRRORED, TEXT
from grn.errors import BadInputError, CodesError, ModelMismatchError
from grn.files import display
from grn.text.encoder import TextEncoder

_MOST_HEADER = 1 << 20  # bytes


def read_codes(sample: Sample, tokenizer: tuple[str, str], rounds: int, mirrored: bool = False) -> PackedCodes:
    """The codes of a sample at so many rounds, or those of its mirror image where there are any.

    tokenizer: its name and fingerprint. Raises BadInputError for codes that are damaged, ModelMismatchError for those of another
    tokenizer or of fewer rounds.
    """
    read = sample.more[MIRRORED] if mirrored and MIRRORED in sample.more else sample.read
    try:
        codes = PackedCodes.load(io.BytesIO(read()))
    except (OSError, CodesError) as error:
        raise BadInputError(f"{sample}: unreadable codes ({error})") from error
    if codes.fingerprint != tokenizer[1]:
        raise ModelMismatchError(
            f"{sample}: made with {codes.tokenizer} ({codes.fingerprint[:12]}) and the recipe's tokenizer is "
            f"{tokenizer[0]} ({tokenizer[1][:12]}); tokenize the data with that"
        )
    if codes.rounds < rounds:
        raise ModelMismatchError(
            f"{sample}: has {codes.rounds} rounds and the network {rounds}; tokenize the data with more"
        )
    return codes.truncate(rounds)


def packed_texts(encoder: TextEncoder, tag: str, texts: list[Tensor], empty: Tensor) -> bytes:
    """The content of a sample's .text.safetensors: each caption [L, D], and the empty prompt."""
    tensors = {str(number): text.contiguous() for number, text in enumerate(texts)}
    facts = {"text_encoder": encoder.name, "fingerprint": encoder.fingerprint, "tag": tag}
    return safetensors.torch.save({**tensors, "empty": empty.contiguous()}, facts)


def text_tokens(sample: Sample, number: int | None, encoder: TextEncoder, tag: str) -> Tensor | None:
    """The caption of this number, None: the empty prompt, as the text encoder reads it; None where it is not kept.

    Only this one is read. Raises BadInputError where it is damaged, ModelMismatchError where it is of another encoder or tag.
    """
    part = sample.more.get(TEXT)
    if part is None:
        return None
    try:
        length = int.from_bytes(FilePart(part.path, part.offset, 8)(), "little")
        if length > _MOST_HEADER:
            raise ValueError("no header")
        header = json.loads(FilePart(part.path, part.offset + 8, length)())
        facts = header.pop("__metadata__")
        name = "empty" if number is None else str(number)
        entry = header[name]
        start, end = entry["data_offsets"]
        if part.size is None or not 0 <= start <= end <= part.size - 8 - length:
            raise ValueError("lies outside of its file")
        data = FilePart(part.path, part.offset + 8 + length + start, end - start)()
        alone = json.dumps({name: {**entry, "data_offsets": [0, end - start]}}).encode()
        tokens = safetensors.torch.load(len(alone).to_bytes(8, "little") + alone + data)[name]
        told, fingerprint = (facts["text_encoder"], facts["tag"]), facts.get("fingerprint")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
        raise BadInputError(f"{sample}: unreadable captions of the text encoder ({error})") from error
    if told != (encoder.name, tag):
        raise ModelMismatchError(
            f"{sample}: its captions were read by {told[0]} behind the tag {told[1]!r}, and the recipe has {encoder.name} and "
            f"{tag!r}; tokenize the data with these"
        )
    if fingerprint not in (None, encoder.fingerprint):  # None: by an older version
        raise ModelMismatchError(
            f"{sample}: its captions were read by another {encoder.name} ({display(str(fingerprint)[:12])}) than the recipe's "
            f"({encoder.fingerprint[:12]}); tokenize the data with that"
        )
    return tokens
