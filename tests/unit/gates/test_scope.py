"""Which gates a run asks: its suites, targets, backends and variants decide."""

from harness.core.plan import CARD
from harness.core.verdict import Gate
from harness.gates import scope

GATES = (
    Gate("loss", "accuracy", "accuracy_loss", variants=("int8",)),
    Gate("p99", "performance", "latency_p99", targets=("pi*",)),
    Gate("bytes", CARD, "file_byte"),
)


def test_a_run_asks_the_gates_of_its_suites_targets_and_variants() -> None:
    gates_ = scope.asked_gates(GATES, ("accuracy",), {"cpu": ("a", "b")}, ("float32", "int8"))
    assert [(gate.name, *rest) for gate, *rest in gates_] == [
        ("loss", "cpu", "a", "int8"), ("loss", "cpu", "b", "int8"),
        ("bytes", "cpu", "a", "float32"), ("bytes", "cpu", "a", "int8"),
        ("bytes", "cpu", "b", "float32"), ("bytes", "cpu", "b", "int8"),
    ]  # fmt: skip
    assert not list(scope.asked_gates(GATES[:2], ("performance",), {"cpu": ("a",)}, ("int8",)))
