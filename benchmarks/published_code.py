"""The published code beside ours in one process: a checkout of it under another name, and stand-ins for what it imports.

Both packages are called `grn`, so the checkout's is copied under the name `published_grn`. Packages that it imports for
little and that are not installed are stood in for here, by the same mathematics.
"""

import contextlib
import importlib.util
import io
import re
import shutil
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NAME = "published_grn"


def install(checkout: Path, folder: Path) -> None:
    """Make the checkout's package importable as `published_grn`, copied into `folder`. Raises SystemExit where it is none."""
    source = checkout / "grn"
    if not (source / "models" / "hbq_tokenizer.py").is_file():
        raise SystemExit(f"{checkout}: no checkout of the published code (expected grn/models/hbq_tokenizer.py)")
    shutil.copytree(source, folder / NAME)
    for path in (folder / NAME).rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r"\b(from|import) grn\b", rf"\1 {NAME}", text), encoding="utf-8")
    sys.path.insert(0, str(folder))
    for name, contents in _STAND_INS.items():
        package = name.partition(".")[0]
        if package in _stood_in or importlib.util.find_spec(package) is None:
            _stood_in.add(package)
            module = types.ModuleType(name)
            vars(module).update(contents, __path__=[])
            sys.modules[name] = module
    if not torch.cuda.is_available():
        _stay_on_the_processor()


@contextlib.contextmanager
def plain_imports(compiled: bool) -> Iterator[None]:
    """While it lasts nothing is printed and, unless `compiled`, what is imported is not compiled."""
    whole = torch.compile
    if not compiled:
        torch.compile = lambda function=None, **_: function if function is not None else (lambda given: given)  # type: ignore[assignment]
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        torch.compile = whole


@contextlib.contextmanager
def unlowered(gpu: bool) -> Iterator[None]:
    """While it lasts the published text network's attention is not lowered to bfloat16, unless on a GPU, where it must be.

    It lowers queries, keys and values whatever the rest computes in: beside a network in float32, 3e-3 of the logits.
    """
    whole = Tensor.to

    def to(self: Tensor, *given: Any, **named: Any) -> Tensor:
        return self if given == (torch.bfloat16,) else whole(self, *given, **named)

    if not gpu:
        Tensor.to = to  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Tensor.to = whole  # type: ignore[method-assign]


def rearrange(x: Tensor, pattern: str, **sizes: int) -> Tensor:
    """einops' function for patterns of names, groups in parentheses and "..." for any axes before."""
    others = " ".join(
        f"axis{i}" for i in range(x.dim() + 1 - len(re.findall(r"\([^)]*\)|\S+", pattern.split("->")[0])))
    )
    pattern = pattern.replace("...", others)
    before, after = (re.findall(r"\([^)]*\)|\S+", side) for side in pattern.split("->"))
    for axis in range(len(before) - 1, -1, -1):
        names = before[axis].strip("()").split()
        if len(names) > 1:
            x = x.unflatten(axis, [sizes.get(name, -1) for name in names])
        before[axis : axis + 1] = names
    x = x.permute([before.index(name) for group in after for name in group.strip("()").split()])
    for axis, group in enumerate(after):
        x = x.flatten(axis, axis + len(group.strip("()").split()) - 1)
    return x.contiguous()


def repeat(x: Tensor, pattern: str, r: int) -> Tensor:
    """einops' function for its one use: each entry of the last axis r times."""
    assert pattern == "... n -> ... (n r)", pattern
    return x.repeat_interleave(r, -1)


def attention_of_parts(
    query: Tensor, key: Tensor, value: Tensor, starts: tuple[Tensor, Tensor], scale: float
) -> Tensor:
    """Attention of sequences that stand one after the other, [S, heads, d]. starts: of the queries' and of the keys'."""
    parts, a, b = [], starts[0].tolist(), starts[1].tolist()
    for i in range(len(a) - 1):
        ranges = (query[a[i] : a[i + 1]], key[b[i] : b[i + 1]], value[b[i] : b[i + 1]])
        q, k, v = (x.transpose(0, 1)[None] for x in ranges)
        parts.append(F.scaled_dot_product_attention(q, k, v, scale=scale)[0].transpose(0, 1))
    joined = torch.cat(parts)
    return joined if joined.is_cuda else joined.float()


class NoDrop(nn.Identity):
    """timm's DropPath, of which inference and this benchmark drop none."""


def _attention(q: Tensor, k: Tensor, v: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor, **rest: Any) -> Tensor:
    """flash_attn's function."""
    return attention_of_parts(q, k, v, (cu_seqlens_q, cu_seqlens_k), rest["softmax_scale"])


def _as_given(x: Any, *_: object, **__: object) -> Any:
    return x


def _nothing(*_: object, **__: object) -> None:
    return None


_stood_in: set[str] = set()
_STAND_INS: dict[str, dict[str, Callable[..., Any]]] = {
    "timm": {},
    "timm.models": {"register_model": _as_given, "create_model": _nothing},
    "timm.models.layers": {"DropPath": NoDrop, "drop_path": _as_given},
    "flash_attn": {"flash_attn_varlen_func": _attention},
    "flash_attn.ops": {},
    "pytz": {"timezone": _nothing},
    "einops": {"rearrange": rearrange, "repeat": repeat},
}


def _stay_on_the_processor() -> None:
    """The published code moves tensors to a GPU by name; without one they stay where they are."""
    whole = Tensor.to

    def to(self: Tensor, *given: Any, **named: Any) -> Tensor:
        here: list[Any] = ["cpu" if isinstance(one, str) and one.startswith("cuda") else one for one in given]
        return whole(self, *here, **named)

    Tensor.to = to  # type: ignore[method-assign, assignment]
    Tensor.cuda = _as_given  # type: ignore[method-assign, assignment]
