"""Patterns of several ONNX operators that are one operator in TFLite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import isclose, sqrt

from harness.compression.export.parts import Node, Value, users_of


def fuse_patterns(nodes: list[Node], values: Mapping[str, Value], outputs: tuple[str, ...]) -> list[Node]:
    """Replace Gelu, written as x · Φ(x) with Erf, and HardSwish, x · HardSigmoid(x), by one node each."""
    users = users_of(nodes)
    producers = {name: node for node in nodes for name in node.outputs}
    fused: dict[str, Node] = {}
    absorbed: set[str] = set()
    for node in nodes:
        chain: list[Node] = []
        if node.op == "Erf":
            chain, source, op = _gelu(node, values, users, producers), "", "Gelu"
            if chain:
                source = _other(chain[0], _constant_of(chain[0], values))
        elif node.op == "HardSigmoid" and isclose(node.attribute("alpha", 0.2), 1 / 6, rel_tol=1e-6):
            follower, source, op = _only(node.outputs[0], users), node.inputs[0], "HardSwish"
            multiplies = follower is not None and follower.op == "Mul" and source in follower.inputs
            if follower is not None and multiplies and node.attribute("beta", 0.5) == 0.5:
                chain = [node, follower]
        inner = {name for member in chain[:-1] for name in member.outputs}
        if not chain or inner & set(outputs):
            continue
        fused[chain[-1].name] = replace(chain[-1], op=op, inputs=(source,), attributes={})
        absorbed |= {member.name for member in chain[:-1]}
    return [fused.get(node.name, node) for node in nodes if node.name not in absorbed]


def _only(name: str, users: Mapping[str, list[Node]]) -> Node | None:
    readers = users.get(name, [])
    return readers[0] if len(readers) == 1 else None


def _number(name: str, values: Mapping[str, Value]) -> float | None:
    value = values.get(name)
    return (
        None
        if value is None or value.data is None or value.data.size != 1
        else float(value.data.reshape(-1)[0])
    )


def _constant_of(node: Node, values: Mapping[str, Value]) -> str:
    return next((name for name in node.inputs if _number(name, values) is not None), "")


def _other(node: Node, name: str) -> str:
    return next((other for other in node.inputs if other != name), name)


def _is(node: Node | None, op: str, number: float, values: Mapping[str, Value]) -> bool:
    if node is None or node.op != op:
        return False
    constant = _number(_constant_of(node, values), values)
    return constant is not None and isclose(constant, number, rel_tol=1e-5)


def _gelu(
    erf: Node, values: Mapping[str, Value], users: Mapping[str, list[Node]], producers: Mapping[str, Node]
) -> list[Node]:
    """Return the nodes of x · ½ · (1 + erf(x / √2)), with factors in any order; empty if it is not that."""
    scaled, plus_one = producers.get(erf.inputs[0]), _only(erf.outputs[0], users)
    divided = _is(scaled, "Div", sqrt(2), values) or _is(scaled, "Mul", sqrt(0.5), values)
    if scaled is None or not divided or _only(scaled.outputs[0], users) is not erf:
        return []
    if plus_one is None or not _is(plus_one, "Add", 1.0, values):
        return []
    source = _other(scaled, _constant_of(scaled, values))
    chain, last = [scaled, erf, plus_one], plus_one
    missing = {"half", "source"}
    extra: list[Node]
    while missing:
        follower = _only(last.outputs[0], users)
        if follower is None or follower.op != "Mul":
            return []
        factor = _other(follower, last.outputs[0])
        producer = producers.get(factor)
        if factor == source:
            factors, extra = {"source"}, []
        elif _is(follower, "Mul", 0.5, values):
            factors, extra = {"half"}, []
        elif producer is not None and _is(producer, "Mul", 0.5, values) and source in producer.inputs:
            factors, extra = {"half", "source"}, [producer] if _only(factor, users) is follower else []
        else:
            return []
        if not factors <= missing:
            return []
        missing -= factors
        chain[-1:] = [last, *extra]
        chain.append(follower)
        last = follower
    return chain
