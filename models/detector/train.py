"""Train the bundled detector on strips of scikit-learn's digits and write ``model.onnx``.

    pip install -e '.[detection,host,train]'
    python models/detector/train.py

One thread, a quarter of an hour. The weights are seeded; another PyTorch or CPU may still differ in the last
bits, so the file in the repository is the one that counts. No choice here was made on the test strips.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.core.detection.decode import Decode
from harness.core.detection.truth import Truth
from harness.data.datasets import Dataset
from harness.data.shipped import digits_training_and_test
from harness.data.strips import HEIGHT, WIDTH, make, strips
from harness.stats.coco_metrics import metrics

SEED = 20261128
STEPS = 3_000
BATCH = 16
CLASSES = 10
STRIDES = (8, 16)
FILE = Path(__file__).with_name("model.onnx")


def convolution(c_in: int, c_out: int, *, size: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Give a convolution with its batch normalisation, which the export folds, and a ReLU."""
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, size, stride, padding=size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(c_out),
        nn.ReLU(),
    )


class Residual(nn.Module):
    """x + two convolutions of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(convolution(channels, channels), convolution(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape: (n, channels, h, w)."""
        return x + self.branch(x)


class Head(nn.Module):
    """Two branches: four distances and one logit a class at every place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.box = nn.Sequential(convolution(channels, 32), nn.Conv2d(32, 4, 1))
        self.score = nn.Sequential(convolution(channels, 48), nn.Conv2d(48, CLASSES, 1))
        nn.init.constant_(self.score[1].bias, -4.0)  # most places are background

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give distances in strides and logits, shapes (n, 4, places) and (n, classes, places)."""
        places = x.shape[2] * x.shape[3]  # a number in the export, and no operator that computes it
        distances, logits = torch.relu(self.box(x)), self.score(x)
        return distances.reshape(-1, 4, int(places)), logits.reshape(-1, CLASSES, int(places))


class Detector(nn.Module):
    """1×48×576 → [14, 540]: boxes cx, cy, w, h in pixels, then ten scores, as YOLOv8 exports them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            convolution(1, 16, stride=2), convolution(16, 24, stride=2), Residual(24),
            convolution(24, 40, stride=2), Residual(40), Residual(40),
        )  # fmt: skip
        self.deeper = nn.Sequential(convolution(40, 56, stride=2), Residual(56))
        self.heads = nn.ModuleList([Head(40), Head(56)])
        centres, strides = [], []
        for stride in STRIDES:
            y, x = torch.meshgrid(
                torch.arange(HEIGHT // stride) + 0.5, torch.arange(WIDTH // stride) + 0.5, indexing="ij"
            )
            centres.append(torch.stack([x.flatten(), y.flatten()]))
            strides.append(torch.full((1, x.numel()), float(stride)))
        self.register_buffer("centres", torch.cat(centres, 1)[None])
        self.register_buffer("strides", torch.cat(strides, 1)[None])

    def raw(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give boxes cx, cy, w, h in pixels and logits, shapes (n, 4, places) and (n, classes, places)."""
        fine = self.stem(x)
        parts = [head(level) for head, level in zip(self.heads, (fine, self.deeper(fine)), strict=True)]
        distances, logits = (torch.cat(part, 2) for part in zip(*parts, strict=True))
        before, after = self.centres - distances[:, :2], self.centres + distances[:, 2:]
        boxes = torch.cat([(before + after) * 0.5, after - before], 1) * self.strides
        return boxes, logits

    def forward(self, x: Tensor) -> Tensor:
        """Give the output of the export: boxes and scores in one tensor."""
        boxes, logits = self.raw(x)
        return torch.cat([boxes, logits.sigmoid()], 1)


def targets(model: Detector, truth: Truth) -> tuple[Tensor, Tensor]:
    """Give the class of each place, -1 of background, and the box that it is to find.

    A place near the middle of an object stands for it, on the level that fits its size.
    """
    centres = (model.centres * model.strides)[0].T.numpy()
    stride = model.strides[0, 0].numpy()
    classes = np.full((len(truth), len(centres)), -1, np.int64)
    boxes = np.zeros((len(truth), len(centres), 4), np.float32)
    for image, row in zip(truth.samples, truth.objects, strict=True):
        corners = row[2:6]
        middle, longest = (corners[:2] + corners[2:]) / 2, (corners[2:] - corners[:2]).max()
        near = (np.abs(centres - middle) <= 0.75 * stride[:, None]).all(1)
        near &= stride == (8 if longest <= 28 else 16)
        near &= ((centres > corners[:2]) & (centres < corners[2:])).all(1)
        classes[image, near], boxes[image, near] = int(row[0]), corners
    return torch.from_numpy(classes), torch.from_numpy(boxes)


def loss_of(model: Detector, images: Tensor, truth: Truth) -> Tensor:
    """Give the focal loss of the scores plus the generalized overlap loss of the boxes."""
    classes, wanted = targets(model, truth)
    boxes, logits = model.raw(images)
    one_hot = functional.one_hot(classes.clamp(0), CLASSES) * (classes >= 0)[..., None]
    logits, boxes = logits.transpose(1, 2), boxes.transpose(1, 2)
    plain = functional.binary_cross_entropy_with_logits(logits, one_hot.float(), reduction="none")
    far = (logits.sigmoid() - one_hot).abs()
    positive = classes >= 0
    scale = positive.sum().clamp(1)
    score_loss = (plain * far**1.5 * torch.where(one_hot > 0, 0.6, 0.4)).sum() / scale
    found, wanted = boxes[positive], wanted[positive]
    corners = torch.cat([found[:, :2] - found[:, 2:] / 2, found[:, :2] + found[:, 2:] / 2], 1)
    low, high = torch.maximum(corners[:, :2], wanted[:, :2]), torch.minimum(corners[:, 2:], wanted[:, 2:])
    both = (high - low).clamp(0).prod(1)
    union = found[:, 2:].prod(1) + (wanted[:, 2:] - wanted[:, :2]).prod(1) - both
    hull = torch.maximum(corners[:, 2:], wanted[:, 2:]) - torch.minimum(corners[:, :2], wanted[:, :2])
    hull = hull.prod(1)
    overlap = both / union - (hull - union) / hull
    return 2 * score_loss + 2 * (1 - overlap).sum() / scale


def as_tensor(part: Dataset) -> Tensor:
    """Give images in 0..1, shape (n, 1, 48, 576)."""
    return torch.from_numpy(part.inputs["image"].transpose(0, 3, 1, 2).astype(np.float32) / 255)


def train() -> Detector:
    """Train with AdamW and a one-cycle rate on strips that are new at every step."""
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    model, (digits, _) = Detector(), digits_training_and_test()
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995), use_buffers=True
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.02)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=STEPS)
    began, total = time.monotonic(), 0.0
    for step in range(STEPS):
        batch = make(digits, BATCH, rng)
        model.train()
        loss = loss_of(model, as_tensor(batch), Truth(batch.labels))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        rate.step()
        average.update_parameters(model)
        total += loss.item()
        if step % 200 == 199:
            print(f"step {step + 1:5d}  loss {total / 200:.4f}  {time.monotonic() - began:.0f} s", flush=True)
            total = 0.0
    return average.module.eval()


def export(model: Detector) -> None:
    """Write one file with a dynamic batch; batch normalisation is folded into the convolutions."""
    torch.onnx.export(
        model, (torch.zeros(1, 1, HEIGHT, WIDTH),), str(FILE), dynamo=False, opset_version=17,
        input_names=["image"], output_names=["output0"],
        dynamic_axes={"image": {0: "batch"}, "output0": {0: "batch"}},
    )  # fmt: skip
    onnx.checker.check_model(onnx.load(FILE), full_check=True)


def main() -> None:
    """Train, export, and print the mAP that ONNX Runtime reaches on the test strips."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    model = train()
    export(model)
    test = strips().test
    session = onnxruntime.InferenceSession(FILE, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"image": as_tensor(test).numpy()})
    truth = Truth(test.labels)
    detections = truth.to_image(Decode("output0").read({"output0": output}))
    measured = metrics(detections, truth, CLASSES)
    print(f"parameters     {sum(p.numel() for p in model.parameters())}")
    print(f"bytes          {FILE.stat().st_size}")
    print(f"sha256         {hashlib.sha256(FILE.read_bytes()).hexdigest()}")
    print(f"test mAP       {measured.overall:.4f}, at 0.5 {measured.at_50:.4f}")


if __name__ == "__main__":
    main()
