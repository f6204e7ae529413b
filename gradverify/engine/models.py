"""ResNet-18, as `torchvision.models` has it: the same modules, the same names in the state dict.

He, Zhang, Ren & Sun, "Deep Residual Learning for Image Recognition", 2015, table 1.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from . import nn


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a way round them."""

    def __init__(self, inplanes: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = None
        if stride != 1 or inplanes != planes:
            self.downsample = nn.Sequential(nn.Conv2d(inplanes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))

    def forward(self, x: Any) -> Any:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out = out + (x if self.downsample is None else self.downsample(x))
        return self.relu(out)


class ResNet18(nn.Module):
    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(BasicBlock(64, 64), BasicBlock(64, 64))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512, num_classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Any) -> Any:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


class ResNet18_Weights(Enum):
    """torchvision's names for its weights. They are not downloaded: give `resnet18` the file."""

    IMAGENET1K_V1 = "resnet18-f37072fd.pth"
    DEFAULT = IMAGENET1K_V1


def resnet18(weights: Any = None, num_classes: int = 1000) -> ResNet18:
    """ResNet-18. `weights`: None (random), a file in torchvision's format (.safetensors, .pth), or a state dict.

    Raises FileNotFoundError for torchvision's enum, which stands for a download.
    """
    model = ResNet18(num_classes)
    if isinstance(weights, ResNet18_Weights):
        raise FileNotFoundError(
            f"nothing is downloaded: pass the path of torchvision's file, as in resnet18(weights={weights.value!r})"
        )
    if weights is not None:
        if not isinstance(weights, dict):
            from .serialization import load

            weights = load(weights)
        model.load_state_dict(weights)
    return model
