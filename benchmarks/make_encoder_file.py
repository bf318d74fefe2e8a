"""Write the image encoder of an official checkpoint alone, as float16: what our promptable weights go with.

python benchmarks/make_encoder_file.py mobilesam --out resources/weights
"""

from __future__ import annotations

from pathlib import Path

import torch
import tyro
from safetensors.torch import save_file

from napari_synthseg import promptable_weights


def main(name: str = "mobilesam", out: Path = Path("resources/weights")) -> None:
    """Write <name>-encoder.safetensors.

    Args:
        name: of the checkpoint, which is searched for where weights are.
        out: folder to write into.
    """
    model = promptable_weights.load_model(name)
    state = {k: v.to(torch.float16).contiguous() for k, v in model.image_encoder.state_dict().items()}
    path = out / promptable_weights.encoder_file(name)
    save_file(state, path)
    path.chmod(0o644)
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    tyro.cli(main)
