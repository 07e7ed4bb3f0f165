"""A backbone is one new file and one row, a network of torchvision one row; done in a copy of the code."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
TOY = '''
"""Four strided convolutions."""

from torch import Tensor, nn

from panvision.model.backbones.base import Backbone, convolve


class Toy(Backbone):
    """The smallest backbone that can be."""

    pixel_mean = pixel_std = (127.5, 127.5, 127.5)

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.channels = widths
        inputs = (3, *widths)
        self.convs = nn.ModuleList(
            nn.Conv2d(inputs[level], width, 3, 2 if level else 4, padding=1) for level, width in enumerate(widths)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = convolve(x, conv, norm).relu()
            features.append(x)
        return features
'''
ROWS = """
    "toy": BackboneSpec(lambda: import_module("panvision.model.backbones.toy").Toy((8, 16, 24, 32))),
    "mnasnet0_5": _torchvision("mnasnet0_5", "layers.8", "layers.9", "layers.11", "layers.13"),
"""
TRIAL = """
import sys
import torch
from panvision.model.checkpoint import load_checkpoint, save_checkpoint
from panvision.model.multitask import MultiTaskModel
from panvision.model.settings import ModelSettings
from panvision.model.weights import initialise_backbone

for name in ("toy", "mnasnet0_5"):
    settings = ModelSettings(backbone=name, weights="none", fpn_channels=32, det_channels=8, seg_channels=8)
    model = MultiTaskModel(settings, image_size=64, det_classes=["a"], cls_classes=["b", "c"])
    model.backbone.freeze(weights=False, batch_norm=True)
    model.train()
    before = [parameter.clone() for parameter in model.parameters()]
    outputs = model(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    logits = [outputs["segmentation"], outputs["classification"], *outputs["detection"].class_logits]
    logits += [*outputs["detection"].ltrb, *outputs["detection"].centerness]
    sum(one.square().mean() for one in logits).backward()
    torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=0.01).step()
    save_checkpoint(f"{name}.pth", model)
    loaded, _ = load_checkpoint(f"{name}.pth")
    weights = ModelSettings(backbone=name, weights=f"{name}.pth")
    report = initialise_backbone(loaded.backbone, weights)
    trained = [not torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True) if pair[1].requires_grad]
    print(name, model.pixel_mean.flatten().round().int().tolist(), all(trained), len(report.missing))
"""


def test_toy_backbone_and_torchvision_row_train(tmp_path):
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    folder = tmp_path / "src/panvision/model/backbones"
    (folder / "toy.py").write_text(TOY)
    table, head = folder / "__init__.py", "BACKBONES: dict[str, BackboneSpec] = {"
    text = table.read_text()
    assert text.count(head) == 1
    table.write_text(text.replace(head, head + ROWS))
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", TRIAL]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["toy [128, 128, 128] True 0", "mnasnet0_5 [124, 116, 104] True 0"]
