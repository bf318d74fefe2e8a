"""Write the two parts of an official checkpoint that our promptable weights go with, each alone and as float16.

python benchmarks/make_encoder_file.py mobilesam --out resources/weights
"""

from __future__ import annotations

from pathlib import Path

import tyro
from safetensors.torch import save_file

from napari_synthseg.weights import catalogue, sam, store


def main(name: str = "mobilesam", out: Path = Path("resources/weights")) -> None:
    """Write <name>-encoder.safetensors unless it is there, and <name>-decoder.safetensors with its card.

    Args:
        name: of the checkpoint, which is searched for where weights are.
        out: folder to write into.
    """
    model = sam.load_model(sam.find(name))
    encoder, decoder = out / sam.encoder_file(name), out / f"{name}-decoder.safetensors"
    if not encoder.exists():  # cards of ours hold its checksum
        tensors = model.image_encoder.state_dict()  # counters of batches are no fractions
        state = {k: (v.half() if v.dtype.is_floating_point else v).contiguous() for k, v in tensors.items()}
        save_file(state, encoder)
        encoder.chmod(0o644)
    card = {
        "name": decoder.stem,
        "network": "promptable",
        "summary": "any structure, by clicks or boxes, as the original does",
        "description": f"The prompt encoder and mask decoder of {name}, unchanged but for float16.",
        "licence": sam.CHECKPOINTS[name].licence,
        "encoder": model.card["encoder"],
        "encoder weights": name,
        "encoder sha256": catalogue.sha256(encoder),
        "data": f"that of {name}: millions of photographs, see its authors' paper",
        "source": {"url": sam.CHECKPOINTS[name].url, "sha256": sam.CHECKPOINTS[name].sha256},
    }
    store.save(decoder, model.parts().state_dict(), card)
    for path in (encoder, decoder):
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    tyro.cli(main)
