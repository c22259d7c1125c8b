"""The face detector's folder, unpacked from the package that carries MTCNN's weights.

``python -m model_serving.training.face.detector`` writes it anew; nothing is trained.
"""

import io
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from model_serving.card import ModelCard, Source, write_card
from model_serving.face.detector import FOLDER, FaceDetector
from model_serving.training.wheels import fetch_wheel

_WHEEL = "facenet-pytorch==2.6.0"
_NOTES = """MTCNN (Zhang et al., 2016), the three nets of facenet-pytorch 2.6.0 (MIT) in half
precision. It finds where a face is in an image that is no crop, and names nobody. Its training
data are WIDER FACE and CelebA, photographs of the web; small, turned, dark-lit and covered faces
are missed more often."""


def unpack(build: Path, folder: Path) -> None:
    """Download the wheel into ``build`` where it is not yet, and write the model folder."""
    tensors: dict[str, torch.Tensor] = {}
    with zipfile.ZipFile(fetch_wheel(_WHEEL, build)) as wheel:
        for net in ("pnet", "rnet", "onet"):
            file = io.BytesIO(wheel.read(f"facenet_pytorch/data/{net}.pt"))
            found = torch.load(file, weights_only=True)
            tensors |= {
                f"{net}.{name}": tensor.half().contiguous() for name, tensor in found.items()
            }
    FaceDetector().load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    card = ModelCard(
        name="mtcnn",
        version="1.0.0",
        modality="face",
        licence="open",
        labels={},
        training_data=(Source(name="WIDER FACE, CelebA (by its authors)", licence="-", rows=0),),
        command="python -m model_serving.training.face.detector",
        notes=_NOTES,
    )
    write_card(folder, card)


if __name__ == "__main__":
    unpack(Path("build"), FOLDER)
