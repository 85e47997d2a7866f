"""Options of a pass are checked by what each field declares, all at once."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import onnx
import pytest

from harness.compression.canonical import canonicalise
from harness.compression.options import node_names, read_options
from harness.core.errors import ConfigurationError, ModelError
from harness.core.settings import Problems, choice, flag, option, share, whole
from harness.device import plugins

from .graphs import residual_cnn


@dataclass(frozen=True, slots=True)
class Options:
    count: int = option(3, whole(1))
    kind: str = option("a", choice("a", "b"))
    bits: int = option(4, choice(4, 8))
    on: bool = option(True, flag)
    part: float = option(0.5, share)
    layers: tuple[str, ...] = option((), node_names)


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return canonicalise(residual_cnn(1))


def test_defaults_and_given_values(model: onnx.ModelProto) -> None:
    assert read_options("p", model, {}, Options) == Options()
    given = {"count": 1, "kind": "b", "bits": 8, "on": False, "part": 0, "layers": ["x"]}
    assert read_options("p", model, given, Options) == Options(1, "b", 8, False, 0, ("x",))


@pytest.mark.parametrize(
    ("key", "value", "must"),
    [
        ("count", 0, "a whole number of at least 1"), ("count", True, "whole"), ("count", 1.0, "whole"),
        ("kind", "c", "one of a, b"), ("kind", ["a"], "one of a, b"), ("bits", 5, "one of 4, 8"),
        ("bits", True, "one of 4, 8"), ("bits", 4.0, "one of 4, 8"), ("on", 1, "true or false"),
        ("part", 1, "a number in [0, 1)"), ("part", -0.1, "number"), ("part", True, "number"),
        ("part", "0.5", "number"), ("layers", "x", "a list of node names"), ("layers", [1], "a list"),
        ("kint", "a", "did you mean kind?"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_what_is_right(
    model: onnx.ModelProto, key: str, value: Any, must: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_options("p", model, {key: value}, Options)
    (problem,) = caught.value.problems
    assert problem.path == key
    assert must in problem.message


def test_all_problems_come_at_once_and_before_combinations(model: onnx.ModelProto) -> None:
    def combined(table: Any) -> Problems:
        return [("on", "never together")] if table.get("count") == 2 else []

    with pytest.raises(ConfigurationError) as caught:
        read_options("p", model, {"count": 0, "on": 2}, Options, combined)
    assert [problem.path for problem in caught.value.problems] == ["count", "on"]
    with pytest.raises(ConfigurationError, match="never together"):
        read_options("p", model, {"count": 2}, Options, combined)


def test_a_quantized_model_is_refused(model: onnx.ModelProto) -> None:
    quantized = onnx.ModelProto()
    quantized.CopyFrom(model)
    quantized.graph.node[0].op_type = "QuantizeLinear"
    with pytest.raises(ModelError, match="quantized already"):
        read_options("p", quantized, {}, Options)


@pytest.mark.parametrize("name", sorted(plugins.catalogue(plugins.PASSES)))
def test_every_pass_of_ours_refuses_an_unknown_option(name: str, model: onnx.ModelProto) -> None:
    pass_ = plugins.choose(plugins.PASSES, name)
    with pytest.raises(ConfigurationError, match="unknown key"):
        pass_(model, [], {"no_such_option": 1})


def test_every_option_of_ours_has_a_check() -> None:
    from harness.compression import channels, cluster, dynamic, float16, foreign, prune, quantize, weights

    declared = [
        channels.ChannelOptions, cluster.ClusterOptions, dynamic.DynamicOptions, float16.Float16Options,
        foreign.NncfOptions, foreign.AiEdgeOptions, prune.PruneOptions, quantize.QuantizeOptions,
        weights.SymbolsOptions, weights.WeightOnlyOptions,
    ]  # fmt: skip
    assert all(callable(item.metadata.get("check")) for cls in declared for item in fields(cls))
