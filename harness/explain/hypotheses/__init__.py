"""The built-in hypotheses, the likeliest and cheapest first."""

from harness.explain.hypotheses.answers import Classes
from harness.explain.hypotheses.arithmetic import Denormals, NonFinite, Precision
from harness.explain.hypotheses.calls import Batches, Buffers, Order, Threads
from harness.explain.hypotheses.concat import SharedScale
from harness.explain.hypotheses.file import OtherGraph, OtherWeights
from harness.explain.hypotheses.formats import OtherFormat
from harness.explain.hypotheses.input import Input
from harness.explain.hypotheses.kernel import WrongOperator
from harness.explain.hypotheses.layer import OneLayer
from harness.explain.hypotheses.options import Kernels, Optimization
from harness.explain.hypotheses.options import Precision as PrecisionOption
from harness.explain.hypotheses.quantized import BiasOverflow, ClippedRange, Coarse, PerTensor, Spread
from harness.explain.hypotheses.received import Received
from harness.explain.hypotheses.returned import Returned
from harness.explain.hypotheses.rounding import Rounding
from harness.explain.hypotheses.saturation import Saturation
from harness.explain.hypotheses.weights import VariantWeights

HYPOTHESES = (
    Classes(),
    VariantWeights(),
    OtherWeights(),
    OtherFormat(),
    PrecisionOption(),
    Buffers(),
    Order(),
    Threads(),
    Returned(),
    Precision(),
    NonFinite(),
    Denormals(),
    Received(),
    Input(),
    Kernels(),
    Saturation(),
    Optimization(),
    Rounding(),
    Batches(),
    BiasOverflow(),
    ClippedRange(),
    PerTensor(),
    SharedScale(),
    Coarse(),
    OtherGraph(),
    WrongOperator(),
    OneLayer(),
    Spread(),
)
