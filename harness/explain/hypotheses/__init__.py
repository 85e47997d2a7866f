"""The built-in hypotheses, the likeliest and cheapest first."""

from harness.explain.hypotheses.files.other_format import OtherFormat
from harness.explain.hypotheses.files.same_format import OtherGraph, OtherWeights
from harness.explain.hypotheses.files.variants import VariantWeights
from harness.explain.hypotheses.pipeline.classes import Classes
from harness.explain.hypotheses.pipeline.preprocessing import Input
from harness.explain.hypotheses.pipeline.received import Received
from harness.explain.hypotheses.pipeline.returned import Returned
from harness.explain.hypotheses.quantization.concat import SharedScale
from harness.explain.hypotheses.quantization.constants import BiasOverflow, PerTensor
from harness.explain.hypotheses.quantization.one_layer import OneLayer
from harness.explain.hypotheses.quantization.ranges import ClippedRange, Coarse
from harness.explain.hypotheses.quantization.spread import Spread
from harness.explain.hypotheses.runtime.arithmetic import Denormals, NonFinite, Precision
from harness.explain.hypotheses.runtime.calls import Batches, Buffers, Order, Threads
from harness.explain.hypotheses.runtime.options import Kernels, Optimization
from harness.explain.hypotheses.runtime.options import Precision as PrecisionOption
from harness.explain.hypotheses.runtime.rounding import Rounding
from harness.explain.hypotheses.runtime.saturation import Saturation
from harness.explain.hypotheses.runtime.wrong_operator import WrongOperator

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
