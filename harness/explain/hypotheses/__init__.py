"""The built-in hypotheses, the likeliest and cheapest first."""

from harness.explain.hypotheses.answers import Classes
from harness.explain.hypotheses.calls import Batches, Order, Threads
from harness.explain.hypotheses.concat import SharedScale
from harness.explain.hypotheses.file import OtherGraph, OtherWeights
from harness.explain.hypotheses.formats import OtherFormat
from harness.explain.hypotheses.input import Input
from harness.explain.hypotheses.kernel import WrongOperator
from harness.explain.hypotheses.options import Kernels, Optimization, Precision
from harness.explain.hypotheses.quantized import BiasOverflow, ClippedRange, Coarse, PerTensor, Spread
from harness.explain.hypotheses.received import Received
from harness.explain.hypotheses.saturation import Saturation

HYPOTHESES = (
    Classes(),
    OtherWeights(),
    OtherFormat(),
    Order(),
    Threads(),
    Received(),
    Input(),
    Precision(),
    Kernels(),
    Saturation(),
    Optimization(),
    Batches(),
    BiasOverflow(),
    ClippedRange(),
    PerTensor(),
    SharedScale(),
    Coarse(),
    OtherGraph(),
    WrongOperator(),
    Spread(),
)
