"""Which GPUs this machine has, asked of the driver's own program: a window opens without torch. No Qt here."""

from __future__ import annotations

import re
import shutil
import subprocess

PATIENCE_S = 10.0


def gpus() -> dict[str, str]:
    """Names of the NVIDIA GPUs by device: {"cuda:0": "NVIDIA H200"}; empty where there are none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    try:
        done = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    return parsed(done.stdout)


def parsed(text: str) -> dict[str, str]:
    """Lines such as "GPU 0: NVIDIA H200 (UUID: ...)"."""
    found = re.findall(r"^GPU (\d+): (.+?)(?: \(UUID.*)?$", text, re.MULTILINE)
    return {f"cuda:{number}": name for number, name in found}
