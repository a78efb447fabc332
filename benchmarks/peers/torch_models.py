"""The workloads' models as a torch user writes them; images come in as NCHW."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.workloads import LEARNING_RATE, RESNET50, VOCABULARY, Workload


def tiny_mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10))


def first_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 32 * 32, 512),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(512, 10),
    )


def bn_cnn() -> nn.Module:
    parts: list[nn.Module] = []
    channels = 3
    for filters in (32, 64, 128):
        for _ in range(2):
            parts += [nn.Conv2d(channels, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters), nn.ReLU()]
            channels = filters
        parts.append(nn.MaxPool2d(2))
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(128 * 4 * 4, 128), nn.ReLU(), nn.Linear(128, 10))


class RecurrentClassifier(nn.Module):
    def __init__(self, kind: type[nn.LSTM | nn.GRU]) -> None:
        super().__init__()
        self.recurrent = kind(32, 128, batch_first=True)
        self.head = nn.Linear(128, 1)

    def forward(self, x: Tensor) -> Tensor:
        sequence, _ = self.recurrent(x)
        return self.head(sequence[:, -1])


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(256, 8, batch_first=True)
        self.head = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        attended, _ = self.attention(x, x, x, need_weights=False)
        return self.head(attended.mean(1))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(nn.TransformerEncoderLayer(256, 8, 512, dropout=0.1, batch_first=True) for _ in range(2))
        )
        self.head = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(x).mean(1))


class TextClassifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 128)
        self.head = nn.Linear(128, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embedding(x).mean(1))


def _convolved(channels: int, filters: int, kernel: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels, filters, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(filters))


class Bottleneck(nn.Module):
    def __init__(self, channels: int, filters: int, stride: int, project: bool) -> None:
        super().__init__()
        self.shortcut = _convolved(channels, 4 * filters, 1, stride) if project else nn.Identity()
        self.inner = nn.Sequential(
            _convolved(channels, filters, 1, stride),
            nn.ReLU(),
            _convolved(filters, filters, 3),
            nn.ReLU(),
            _convolved(filters, 4 * filters, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.inner(x))


def resnet50() -> nn.Module:
    parts: list[nn.Module] = [_convolved(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1)]
    channels = 64
    for blocks, filters, stride in RESNET50:
        for block in range(blocks):
            parts.append(Bottleneck(channels, filters, 1 if block else stride, project=block == 0))
            channels = 4 * filters
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))


_MODELS: dict[str, Callable[[], nn.Module]] = {
    "tiny_mlp": tiny_mlp,
    "mlp": mlp,
    "first_cnn": first_cnn,
    "bn_cnn": bn_cnn,
    "lstm": lambda: RecurrentClassifier(nn.LSTM),
    "gru": lambda: RecurrentClassifier(nn.GRU),
    "attention": Attention,
    "transformer": Transformer,
    "text": TextClassifier,
    "resnet50": resnet50,
    "predict_one": mlp,
    "call_one": mlp,
}


def model(workload: Workload) -> nn.Module:
    """The model, its convolutions laid out as channels_last."""
    return _MODELS[workload.name]().to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def criterion(workload: Workload) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss; probabilities are left to the loss, which is how torch users write it."""
    return {"mse": F.mse_loss, "binary": F.binary_cross_entropy_with_logits}.get(workload.loss, F.cross_entropy)


def optimizer(workload: Workload, module: nn.Module) -> torch.optim.Optimizer:
    """The optimizer, fused where torch has that."""
    rate = LEARNING_RATE[workload.optimizer]
    if workload.optimizer == "rmsprop":
        return torch.optim.RMSprop(module.parameters(), rate, alpha=0.9)
    kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[workload.optimizer]
    return kind(module.parameters(), rate, fused=True)
