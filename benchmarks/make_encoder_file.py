"""Write the image encoder of an official checkpoint alone, as float16: what our promptable weights go with.

python benchmarks/make_encoder_file.py mobilesam --out resources/weights
"""

from __future__ import annotations

from pathlib import Path

import tyro
from safetensors.torch import save_file

from napari_synthseg.weights import sam


def main(name: str = "mobilesam", out: Path = Path("resources/weights")) -> None:
    """Write <name>-encoder.safetensors.

    Args:
        name: of the checkpoint, which is searched for where weights are.
        out: folder to write into.
    """
    model = sam.load_model(name)
    tensors = model.image_encoder.state_dict()  # counters of batches are no fractions
    state = {k: (v.half() if v.dtype.is_floating_point else v).contiguous() for k, v in tensors.items()}
    path = out / sam.encoder_file(name)
    save_file(state, path)
    path.chmod(0o644)
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    tyro.cli(main)
