"""Sockets on which processes wait for somebody from outside, as Linux tells them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
LOOPBACK = ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")
"""127.0.0.1, ::1 and ::ffff:127.0.0.1, as /proc/net writes them."""


def family() -> list[int]:
    """This process and all that it started, and those started, directly or not."""
    found = [os.getpid()]
    for pid in found:
        for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                found += [int(child) for child in tasks.read_text().split()]
            except OSError:  # it has ended
                continue
    return found


def listening(pids: list[int]) -> set[str]:
    """Addresses and ports at which some of the processes listen, as /proc/net writes them."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes.add(os.readlink(link))
            except OSError:
                continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            parts = line.split()
            if parts[3] == "0A" and f"socket:[{parts[9]}]" in inodes:
                found.add(parts[1])
    return found


def reachable(addresses: set[str]) -> set[str]:
    """Those of the addresses that other machines reach."""
    return {address for address in addresses if address.split(":")[0] not in LOOPBACK}
