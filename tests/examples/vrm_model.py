"""A VRM 1.0 model of one triangle, made by hand: all that its loader asks for, and nothing else."""

import json
import struct
from pathlib import Path
from typing import Any

EMOTIONS = ("happy", "angry", "sad", "relaxed", "surprised")
MORPHS = (*EMOTIONS, "aa", "blink")
_LIMBS = ("UpperLeg", "LowerLeg", "Foot", "UpperArm", "LowerArm", "Hand")
_PAIRS = tuple(f"{side}{limb}" for side in ("left", "right") for limb in _LIMBS)
BONES = ("hips", "spine", "head", *_PAIRS)
"""The bones that every VRM has."""
_TRIANGLE = (-0.1, 0, 0, 0.1, 0, 0, 0, 0.2, 0)


def write_model(path: Path) -> None:
    """Write the model; its ``happy`` stops the lips, as many models' presets do."""
    body = struct.pack("<9f", *_TRIANGLE)
    text = json.dumps(_document(len(body))).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    chunks += struct.pack("<I4s", len(body), b"BIN\0") + body
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)


def _document(size: int) -> dict[str, Any]:
    mesh = len(BONES)
    nodes: list[dict[str, Any]] = [{"name": bone, "translation": [0, 0.1, 0]} for bone in BONES]
    nodes[0]["children"] = list(range(1, len(BONES)))
    nodes.append({"name": "face", "mesh": 0})
    place = {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}
    return {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0, mesh]}],
        "nodes": nodes,
        "buffers": [{"byteLength": size}],
        "bufferViews": [{"buffer": 0, "byteLength": size}],
        "accessors": [place | {"min": [-0.1, 0, 0], "max": [0.1, 0.2, 0]}],
        "meshes": [
            {
                "primitives": [
                    {"attributes": {"POSITION": 0}, "targets": [{"POSITION": 0} for _ in MORPHS]}
                ]
            }
        ],
        "extensionsUsed": ["VRMC_vrm"],
        "extensions": {"VRMC_vrm": _vrm(mesh)},
    }


def _vrm(mesh: int) -> dict[str, Any]:
    presets: dict[str, Any] = {
        name: {"morphTargetBinds": [{"node": mesh, "index": place, "weight": 1.0}]}
        for place, name in enumerate(MORPHS)
    }
    presets["happy"]["overrideMouth"] = "block"
    return {
        "specVersion": "1.0",
        "meta": {
            "name": "triangle",
            "authors": ["affectstream"],
            "licenseUrl": "https://vrm.dev/licenses/1.0/",
        },
        "humanoid": {"humanBones": {bone: {"node": n} for n, bone in enumerate(BONES)}},
        "expressions": {"preset": presets},
    }
