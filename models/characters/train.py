"""Train a small transformer that predicts the next character, and write the model and two sets of documents.

    pip install -e '.[host]'
    python models/characters/train.py

NumPy alone, a few minutes. The weights are seeded; another NumPy, CPU or Python may still differ, so the
files in the repository are those that count. No choice here was made on the test documents.
"""

from __future__ import annotations

import hashlib
import pydoc_data.topics
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).parent
SEED = 20261128
#: Characters: a newline, with which a document begins and ends, and what ASCII prints.
ALPHABET = "\n" + "".join(map(chr, range(32, 127)))
WIDTH, HEADS, BLOCKS, INNER, LONGEST = 64, 4, 2, 256, 128
STEPS, BATCH, RATE, WARM_UP = 1500, 16, 3e-3, 100
N_TEST, N_CALIBRATION, SHORTEST = 200, 60, 40
#: What an attention score loses where it would look at a later character: exp(-40) is nothing.
MASK = -40.0
EPSILON = 1e-5
#: By how much one feature is larger than the others.
OUTLIER = 14

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Weights = dict[str, Floats]


def documents() -> list[str]:
    """Give the paragraphs of Python's own help topics (PSF License), shuffled."""
    texts = [text for _, text in sorted(pydoc_data.topics.topics.items())]
    paragraphs = [" ".join(part.split()) for text in texts for part in text.split("\n\n")]
    usable = [
        part for part in dict.fromkeys(paragraphs) if len(part) >= SHORTEST and set(part) <= set(ALPHABET)
    ]
    order = np.random.default_rng(SEED).permutation(len(usable))
    return [usable[place] for place in order]


def ids_of(text: str) -> Ids:
    """Give the characters of a document, from newline to newline, at most ``LONGEST``."""
    return np.array([ALPHABET.index(character) for character in f"\n{text}\n"][:LONGEST])


def start(random: np.random.Generator) -> Weights:
    """Give the first weights."""
    shapes: dict[str, tuple[int, ...]] = {"embed": (len(ALPHABET), WIDTH), "place": (LONGEST, WIDTH)}
    for block in range(BLOCKS):
        shapes |= {f"{block}.{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "o")}
        shapes |= {f"{block}.wide": (WIDTH, INNER), f"{block}.narrow": (INNER, WIDTH)}
    shapes["out"] = (WIDTH, len(ALPHABET))
    weights = {
        name: random.normal(0, 0.1 if name in ("embed", "place") else shape[0] ** -0.5, shape)
        for name, shape in shapes.items()
    }
    for name, shape in shapes.items():
        weights[f"{name}.b"] = np.zeros(shape[1])
    for norm in ("norm", *(f"{block}.norm{i}" for block in range(BLOCKS) for i in (1, 2))):
        weights |= {f"{norm}.s": np.ones(WIDTH), f"{norm}.b": np.zeros(WIDTH)}
    del weights["embed.b"], weights["place.b"]
    return {name: value.astype(np.float32) for name, value in weights.items()}


class Pass:
    """A forward pass that remembers how to go back."""

    def __init__(self, weights: Weights) -> None:
        self.weights, self.sums = weights, {name: np.zeros_like(value) for name, value in weights.items()}

    def dense(self, x: Floats, name: str) -> Floats:
        """Give x w + b."""
        return x @ self.weights[name] + self.weights[f"{name}.b"]

    def dense_back(self, x: Floats, error: Floats, name: str) -> Floats:
        """Give the gradient of x."""
        flat = error.reshape(-1, error.shape[-1])
        self.sums[name] += x.reshape(-1, x.shape[-1]).T @ flat
        self.sums[f"{name}.b"] += flat.sum(axis=0)
        return error @ self.weights[name].T

    def norm(self, x: Floats, name: str) -> tuple[Floats, tuple[Floats, Floats]]:
        """Give the layer normalization, and what it remembers."""
        centred = x - x.mean(axis=-1, keepdims=True)
        factor = 1 / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + np.float32(EPSILON))
        whole = centred * factor
        return whole * self.weights[f"{name}.s"] + self.weights[f"{name}.b"], (whole, factor)

    def norm_back(self, memory: tuple[Floats, Floats], error: Floats, name: str) -> Floats:
        """Give the gradient of x."""
        whole, factor = memory
        self.sums[f"{name}.s"] += (error * whole).reshape(-1, WIDTH).sum(axis=0)
        self.sums[f"{name}.b"] += error.reshape(-1, WIDTH).sum(axis=0)
        inner = error * self.weights[f"{name}.s"]
        mean = inner.mean(axis=-1, keepdims=True)
        return factor * (inner - mean - whole * (inner * whole).mean(axis=-1, keepdims=True))


def by_head(x: Floats) -> Floats:
    """(n, length, width) to (n, heads, length, width of a head)."""
    return x.reshape(*x.shape[:2], HEADS, -1).transpose(0, 2, 1, 3)


def joined(x: Floats) -> Floats:
    """Undo `by_head`."""
    return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)


def softmax(x: Floats) -> Floats:
    """Over the last axis."""
    made = np.exp(x - x.max(axis=-1, keepdims=True))
    return made / made.sum(axis=-1, keepdims=True)


def gradients(weights: Weights, ids: Ids, targets: Ids) -> tuple[float, Weights]:
    """Give the mean loss over characters, shape (n, length), and its gradients."""
    run, length = Pass(weights), ids.shape[1]
    mask = np.triu(np.full((length, length), MASK, np.float32), 1)
    root = np.float32((WIDTH // HEADS) ** -0.5)
    x = weights["embed"][ids] + weights["place"][:length]
    memories = []
    for block in range(BLOCKS):
        y, norm1 = run.norm(x, f"{block}.norm1")
        q, k, v = (by_head(run.dense(y, f"{block}.{name}")) for name in "qkv")
        seen = softmax(q @ k.swapaxes(-1, -2) * root + mask)
        mixed = joined(seen @ v)
        x = x + run.dense(mixed, f"{block}.o")
        z, norm2 = run.norm(x, f"{block}.norm2")
        wide = np.maximum(run.dense(z, f"{block}.wide"), 0)
        x = x + run.dense(wide, f"{block}.narrow")
        memories.append((y, norm1, q, k, v, seen, mixed, z, norm2, wide))
    last, norm = run.norm(x, "norm")
    probable = softmax(run.dense(last, "out"))
    of_target = np.take_along_axis(probable, targets[..., None], axis=-1)
    error = probable
    np.put_along_axis(error, targets[..., None], of_target - 1, axis=-1)
    error = error / np.float32(targets.size)
    back = run.norm_back(norm, run.dense_back(last, error, "out"), "norm")
    for block in reversed(range(BLOCKS)):
        y, norm1, q, k, v, seen, mixed, z, norm2, wide = memories[block]
        inner = run.dense_back(wide, back, f"{block}.narrow") * (wide > 0)
        back = back + run.norm_back(norm2, run.dense_back(z, inner, f"{block}.wide"), f"{block}.norm2")
        of_mixed = by_head(run.dense_back(mixed, back, f"{block}.o"))
        of_seen = of_mixed @ v.swapaxes(-1, -2)
        of_scores = root * seen * (of_seen - (of_seen * seen).sum(axis=-1, keepdims=True))
        parts = of_scores @ k, of_scores.swapaxes(-1, -2) @ q, seen.swapaxes(-1, -2) @ of_mixed
        inner = sum(
            run.dense_back(y, joined(part), f"{block}.{name}")
            for name, part in zip("qkv", parts, strict=True)
        )
        back = back + run.norm_back(norm1, inner, f"{block}.norm1")
    np.add.at(run.sums["embed"], ids, back)
    run.sums["place"][:length] += back.sum(axis=0)
    return float(-np.log(of_target).mean()), run.sums


def batches(texts: list[str], random: np.random.Generator) -> Iterator[tuple[Ids, Ids]]:
    """Give pieces of all documents in a row; half of them begin where a document does."""
    every = np.concatenate([ids_of(text)[:-1] for text in texts])
    begins = np.flatnonzero(every == 0)
    begins = begins[begins < len(every) - LONGEST - 1]
    while True:
        places = np.concatenate(
            [random.choice(begins, BATCH // 2), random.integers(0, len(every) - LONGEST - 1, BATCH // 2)]
        )
        pieces = every[places[:, None] + np.arange(LONGEST + 1)]
        yield pieces[:, :-1], pieces[:, 1:]


def train(texts: list[str]) -> Weights:
    """Train with Adam; D. Kingma and J. Ba, "Adam", ICLR 2015."""
    random = np.random.default_rng(SEED)
    weights = start(random)
    mean, square = ({name: np.zeros_like(value) for name, value in weights.items()} for _ in range(2))
    for step, (ids, targets) in zip(range(STEPS), batches(texts, random), strict=False):
        loss, sums = gradients(weights, ids, targets)
        norm = np.sqrt(sum(float(np.square(value).sum()) for value in sums.values()))
        rate = RATE * min(1.0, (step + 1) / WARM_UP) * (1 - step / STEPS)
        for name in weights:
            gradient = sums[name] * min(1.0, 1.0 / norm)
            mean[name] += 0.1 * (gradient - mean[name])
            square[name] += 0.02 * (gradient**2 - square[name])
            unbiased = mean[name] / (1 - 0.9 ** (step + 1)), square[name] / (1 - 0.98 ** (step + 1))
            weights[name] -= np.float32(rate) * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
        if step % 100 == 0:
            print(f"step {step:5d} of {STEPS}  loss {loss:.3f}", flush=True)
    return weights


def with_outliers(weights: Weights) -> Weights:
    """Give the same function, with one feature of each normalization far larger than the others.

    Large language models have such features (T. Dettmers et al., "LLM.int8()", 2022), and one this small does
    not: so the feature is multiplied, and the weights that read it are divided. One int8 scale for a whole
    activation, which is usual, then has few steps left for all other features.
    """
    changed = {name: value.copy() for name, value in weights.items()}
    for block in range(BLOCKS):
        for norm, users in (("norm1", "qkv"), ("norm2", ("wide",))):
            feature = (7 * block + 13) % WIDTH
            for part in "sb":
                changed[f"{block}.{norm}.{part}"][feature] *= OUTLIER
            for user in users:
                changed[f"{block}.{user}"][feature] /= OUTLIER
    return changed


def graph(weights: Weights) -> onnx.ModelProto:
    """Give the model of ids and positions; number and length of documents are open.

    Each head has matrices of its own, so that no Reshape has to name two open dimensions, which a TFLite file
    cannot. What may be seen comes from the positions, for the same reason.
    """
    nodes, constants = list[onnx.NodeProto](), dict[str, NDArray[np.generic]]()

    def put(name: str, value: NDArray[np.generic] | float) -> str:
        constants[name] = np.asarray(value, np.float32)
        return name

    def add(kind: str, inputs: list[str], name: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def dense(x: str, name: str, weight: Floats, bias: Floats) -> str:
        product = add("MatMul", [x, put(f"{name}.w", weight)], f"{name}.product")
        return add("Add", [product, put(f"{name}.b", bias)], name)

    def norm(x: str, name: str) -> str:
        return add(
            "LayerNormalization", [x, *(put(f"{name}.{part}", weights[f"{name}.{part}"]) for part in "sb")],
            name, axis=-1, epsilon=EPSILON,
        )  # fmt: skip

    # Row minus column: below 0 where a character would look at a later one.
    numbers = put("numbers", np.arange(LONGEST)[:, None])
    rows = add("Gather", [numbers, "position_ids"], "rows")
    ahead = add("Sub", [rows, add("Transpose", [rows], "columns", perm=[0, 2, 1])], "ahead")
    hidden = add(
        "Mul",
        [add("Clip", [ahead, put("least", -1.0), put("most", 0.0)], "hidden"), put("mask", -MASK)],
        "masks",
    )
    embedded = [
        add("Gather", [put(name, weights[name]), ids], f"{name}.rows")
        for name, ids in (("embed", "input_ids"), ("place", "position_ids"))
    ]
    x = add("Add", embedded, "embedded")
    size = WIDTH // HEADS
    for block in range(BLOCKS):
        y = norm(x, f"{block}.norm1")
        for head in range(HEADS):
            at, part = f"{block}.head{head}", slice(head * size, (head + 1) * size)
            scale = {"q": size**-0.5, "k": 1.0, "v": 1.0}
            q, k, v = (
                dense(
                    y,
                    f"{at}.{name}",
                    weights[f"{block}.{name}"][:, part] * factor,
                    weights[f"{block}.{name}.b"][part] * factor,
                )
                for name, factor in scale.items()
            )
            scores = add("MatMul", [q, add("Transpose", [k], f"{at}.turned", perm=[0, 2, 1])], f"{at}.scores")
            seen = add("Softmax", [add("Add", [scores, hidden], f"{at}.masked")], f"{at}.seen", axis=-1)
            mixed = add("MatMul", [seen, v], f"{at}.mixed")
            bias = weights[f"{block}.o.b"] / HEADS
            x = add("Add", [x, dense(mixed, f"{at}.o", weights[f"{block}.o"][part], bias)], f"{at}.sum")
        z = norm(x, f"{block}.norm2")
        wide = add(
            "Relu",
            [dense(z, f"{block}.wide", weights[f"{block}.wide"], weights[f"{block}.wide.b"])],
            f"{block}.relu",
        )
        x = add(
            "Add",
            [x, dense(wide, f"{block}.narrow", weights[f"{block}.narrow"], weights[f"{block}.narrow.b"])],
            f"{block}.sum",
        )
    dense(norm(x, "norm"), "logits", weights["out"], weights["out.b"])
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["documents", "length"])
        for name in ("input_ids", "position_ids")
    ]
    output = helper.make_tensor_value_info(
        "logits", TensorProto.FLOAT, ["documents", "length", len(ALPHABET)]
    )
    made = helper.make_graph(
        nodes, "characters", inputs, [output],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def write_documents(path: Path, texts: list[str]) -> None:
    """Write ids of all documents in a row, and the length of each; a model takes them and the next one."""
    every = [ids_of(text) for text in texts]
    np.savez_compressed(
        path,
        input_ids=np.concatenate(every).astype(np.uint8),
        lengths=np.array([len(ids) for ids in every], np.int32),
    )


def perplexity(texts: list[str]) -> float:
    """Of the file, with ONNX Runtime."""
    session = onnxruntime.InferenceSession(FOLDER / "model.onnx", providers=["CPUExecutionProvider"])
    total, count = 0.0, 0
    for text in texts:
        ids = ids_of(text)
        (logits,) = session.run(
            None, {"input_ids": ids[None, :-1], "position_ids": np.arange(len(ids) - 1)[None]}
        )
        total -= float(np.log(softmax(logits[0].astype(np.float64)))[np.arange(len(ids) - 1), ids[1:]].sum())
        count += len(ids) - 1
    return float(np.exp(total / count))


def main() -> None:
    """Train, write the files, and print what the README says."""
    texts = documents()
    test, training = texts[:N_TEST], texts[N_TEST:]
    onnx.save(graph(with_outliers(train(training))), FOLDER / "model.onnx")
    write_documents(FOLDER / "test.npz", test)
    write_documents(FOLDER / "calibration.npz", training[:N_CALIBRATION])
    print(f"sha256      {hashlib.sha256((FOLDER / 'model.onnx').read_bytes()).hexdigest()}")
    print(f"bytes       {(FOLDER / 'model.onnx').stat().st_size}")
    print(f"perplexity  {perplexity(test):.3f}")


if __name__ == "__main__":
    main()
