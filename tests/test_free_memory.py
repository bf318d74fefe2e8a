"""How much memory a device has left."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from napari_synthseg import devices

CPU = torch.device("cpu")


def files(monkeypatch, contents: dict[str, str]) -> None:
    def read_text(path: Path, *_, **__) -> str:
        if str(path) in contents:
            return contents[str(path)]
        raise FileNotFoundError(str(path))

    monkeypatch.setattr(Path, "read_text", read_text)


MEMINFO = {"/proc/meminfo": "MemTotal: 100 kB\nMemAvailable:   64 kB\n"}


def test_what_linux_says_is_free(monkeypatch):
    files(monkeypatch, MEMINFO)
    assert devices.free_memory(CPU) == 64 * 1024


@pytest.mark.parametrize(("limit", "free"), [("max", 65536), ("20480", 10240), ("9999999", 65536)])
def test_a_control_group_may_allow_less(monkeypatch, limit, free):
    group = {"/sys/fs/cgroup/memory.max": limit, "/sys/fs/cgroup/memory.current": "10240"}
    files(monkeypatch, MEMINFO | group)
    assert devices.free_memory(CPU) == free


def test_elsewhere_it_is_half_of_the_memory_or_not_known(monkeypatch):
    files(monkeypatch, {})
    found = devices.free_memory(CPU)
    assert found is None or found > 0
    assert devices.free_memory(torch.device("mps")) is None
