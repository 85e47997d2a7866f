"""Train the embedded model on scikit-learn's bundled digits and write ``model.onnx``.

    pip install -e '.[host,train]'
    python models/digits/train.py

One thread, a few minutes. The weights are seeded; another PyTorch or CPU may still differ in the last bits,
so the file in the repository is the one that counts. No choice here was made on the test images.
"""

from __future__ import annotations

import hashlib
import math
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.data.datasets import Dataset
from harness.data.shipped import digits_training_and_test

# 0.2 · 255 = 51 is a whole number: a uint8 input tensor with scale 1/102 and zero point 51 holds every
# pixel exactly, so that quantizing the input costs nothing.
MEAN, STD = 0.2, 0.4
SEED = 20240607
EPOCHS = 120
BATCH = 64
FILE = Path(__file__).with_name("model.onnx")


def convolution(c_in: int, c_out: int, *, size: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Give a convolution with its batch normalisation, which the export folds into the convolution."""
    return [
        nn.Conv2d(c_in, c_out, size, stride, padding=size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(c_out),
    ]


class Residual(nn.Module):
    """relu(x + pointwise(relu(depthwise(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *convolution(channels, channels, size=3, groups=channels),
            nn.ReLU(),
            *convolution(channels, channels, size=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape: (n, channels, h, w)."""
        return torch.relu(x + self.branch(x))


class Digits(nn.Module):
    """1×32×32 → 10 logits: three stages at 16², 8² and 4², with depthwise-separable residual blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *convolution(1, 32, size=3, stride=2), nn.ReLU(),
            Residual(32),
            *convolution(32, 64, size=3, stride=2), nn.ReLU(),
            Residual(64), Residual(64),
            *convolution(64, 96, size=3, stride=2), nn.ReLU(),
            Residual(96),
            *convolution(96, 128, size=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
        self.classifier = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Give logits, shape (n, 10), of normalised images, shape (n, 1, 32, 32)."""
        return self.classifier(functional.dropout(self.features(x), 0.2, self.training))


def as_tensor(part: Dataset) -> tuple[Tensor, Tensor]:
    """Give images in 0..1, shape (n, 1, 32, 32), and labels."""
    images = part.inputs["image"].transpose(0, 3, 1, 2).astype(np.float32) / 255
    return torch.from_numpy(images), torch.from_numpy(part.labels)


def augment(images: Tensor, random: torch.Generator) -> Tensor:
    """Shift, turn, scale and shear; then change contrast, blur and add noise, on some of the images."""
    n = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=random)

    angle, scale, shear = uniform(-0.25, 0.25), uniform(0.85, 1.2), uniform(-0.15, 0.15)
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    rows = (
        torch.stack([cos, shear - sin, uniform(-0.15, 0.15)], 1),
        torch.stack([sin, cos, uniform(-0.15, 0.15)], 1),
    )
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    images = functional.grid_sample(images, grid, align_corners=False)

    def on(share: float, changed: Tensor) -> Tensor:
        chosen = torch.rand(n, generator=random) < share
        return torch.where(chosen[:, None, None, None], changed, images)

    per_image = (n, 1, 1, 1)
    blurred = functional.avg_pool2d(functional.avg_pool2d(images, 3, 1, 1), 3, 1, 1)
    images = on(0.25, blurred)
    contrast, offset = uniform(0.3, 1.2).view(per_image), uniform(-0.1, 0.4).view(per_image)
    images = on(0.4, images * contrast + offset)
    haze = functional.interpolate(torch.rand((n, 1, 4, 4), generator=random), size=32, mode="bicubic")
    images = on(0.15, images * 0.6 + 0.6 * haze)
    sigma = uniform(0.0, 0.25).view(per_image)
    images = on(0.4, images + sigma * torch.randn(images.shape, generator=random))
    salt = torch.rand(images.shape, generator=random) < uniform(0.0, 0.15).view(per_image)
    images = on(0.2, torch.where(salt, torch.rand(images.shape, generator=random).round(), images))
    return images.clamp(0, 1)


def train(images: Tensor, labels: Tensor) -> nn.Module:
    """Train with AdamW and a one-cycle rate; the weights given are a moving average of the last ones."""
    random = torch.Generator().manual_seed(SEED)
    torch.manual_seed(SEED)
    model = Digits()
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995), use_buffers=True
    )
    steps = math.ceil(len(images) / BATCH) * EPOCHS
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.02)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    began = time.monotonic()
    for epoch in range(EPOCHS):
        model.train()
        total = 0.0
        for chosen in torch.randperm(len(images), generator=random).split(BATCH):
            logits = model((augment(images[chosen], random) - MEAN) / STD)
            loss = functional.cross_entropy(logits, labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
            average.update_parameters(model)
            total += loss.item() * len(chosen)
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1:3d}  loss {total / len(images):.4f}  {time.monotonic() - began:.0f} s")
    return average.module.eval()


def export(model: nn.Module) -> None:
    """Write one file with a dynamic batch; batch normalisation is folded into the convolutions."""
    torch.onnx.export(
        model, (torch.zeros(1, 1, 32, 32),), str(FILE), dynamo=False, opset_version=17,
        input_names=["image"], output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
    )  # fmt: skip
    graph = onnx.load(FILE)
    onnx.checker.check_model(graph, full_check=True)


def main() -> None:
    """Train, export, and print the accuracy that ONNX Runtime reaches on the test images."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    training, test = digits_training_and_test()
    model = train(*as_tensor(training))
    export(model)
    images, labels = as_tensor(test)
    session = onnxruntime.InferenceSession(FILE, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"image": ((images - MEAN) / STD).numpy()})
    correct = int((logits.argmax(1) == labels.numpy()).sum())
    print(f"parameters     {sum(p.numel() for p in model.parameters())}")
    print(f"bytes          {FILE.stat().st_size}")
    print(f"sha256         {hashlib.sha256(FILE.read_bytes()).hexdigest()}")
    print(f"test accuracy  {correct}/{len(labels)} = {correct / len(labels):.4f}")


if __name__ == "__main__":
    main()
