"""What networks compute in by default."""

import platform
from pathlib import Path

import pytest
import torch

from grn import devices
from grn.devices import multiplies_bfloat16
from grn.errors import EnvironmentFaultError, GrnError, UsageError
from grn.pipeline import Pipeline

FLAGS = Path("/proc/cpuinfo")


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("gpu", UsageError, "device 'gpu': is not known; use cpu, cuda or cuda:N"),
        ("cuda:99", EnvironmentFaultError, "device cuda:99: is not there"),
    ],
)
def test_a_device_that_is_not_there(name: str, kind: type[GrnError], says: str) -> None:
    with pytest.raises(kind, match=says):
        devices.checked(name)
    with pytest.raises(kind, match=says):
        Pipeline.from_pretrained("emoji", name)


def test_a_gpu_computes_in_bfloat16() -> None:
    assert devices.fast_type("cuda") == devices.fast_type(torch.device("cuda", 1)) == torch.bfloat16


@pytest.mark.parametrize(("units", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_processor_computes_in_what_it_multiplies_faster(
    monkeypatch: pytest.MonkeyPatch, units: bool, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(devices, "multiplies_bfloat16", lambda: units)
    assert devices.fast_type("cpu") == dtype


@pytest.mark.skipif(not FLAGS.is_file(), reason="no list of the processor's flags")
def test_the_instructions_are_those_that_the_system_lists() -> None:
    flags = set(FLAGS.read_text().split())
    assert multiplies_bfloat16() == bool(flags & {"amx_bf16", "avx512_bf16"})


def test_sending_keeps_values_and_type() -> None:
    values = torch.arange(6).view(2, 3)
    assert torch.equal(devices.send(values, torch.device("cpu")), values)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others keep nothing")
def test_gaps_between_blocks_go_back_to_the_system() -> None:
    def resident() -> int:
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1])

    blocks = [torch.ones(16_000) for _ in range(800)]  # 64 kB each, too small to be mapped alone
    held = resident()
    del blocks[::2], blocks[::2]  # three of four
    devices.return_unused_memory()
    assert held - resident() > 20_000
