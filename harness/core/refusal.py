"""A runtime's error message for a model that it refuses, condensed to operator, node and cause.

Runtimes answer with C++ signatures, source positions, web addresses and several lines of context. The full
text is stored with the run; the table and the console show one sentence.
"""

from __future__ import annotations

import re

#: Most characters of a condensed message.
LONGEST = 300

#: Where runtimes name the operator and the node; the first pattern that matches counts.
_PLACES = (
    re.compile(r'In Node, \("(?P<node>[^"]*)", (?P<operator>[\w.]+)'),
    re.compile(r"running (?P<operator>[\w.]+) node\. Name:'(?P<node>[^']*)'"),
    re.compile(r"of operator \((?P<operator>[\w.]+)\) in node \((?P<node>[^)]*)\)"),
    re.compile(r"ONNX node '<Node\((?P<operator>[\w.]+)\): (?P<node>[^>]*)>'"),
    re.compile(r"Node number (?P<node>\d+) \((?P<operator>\w+)\)"),
)
#: Lines that give no cause.
_NOISE_LINES = re.compile(
    r"""
    \s*(?:https?://\S+|Exception\ from\ \S+:?|Check\ .*\ failed\ at\ \S+:?|FrontEnd\ API\ failed\ with\ \w+:
    |Model\ wasn't\ fully\ converted\..*|Summary:|To\ facilitate\ .*|--\ .*\ with\ a\ message:
    |--\ Conversion\ is\ failed\ for:.*|While\ validating\ .*|Traceback\ \(.*|File\ ".*",\ line\ \d+.*)\s*
    """,
    re.VERBOSE,
)
#: Parts of a line that give no cause, in this order.
_NOISE = (
    r"\[ONNXRuntimeError\] : \d+ : \w+ : ",
    r"Load model from .*? failed:\s*",
    r"Non-zero status code returned while running \w+ node\. Name:'[^']*' Status Message: ",
    r"This is an invalid model\. (?:In Node, .*? , )?(?:Type )?(?:Error:?|Fatal error:) ?",
    r"Fatal error: ",
    # A source file with its line, and the signature of the C++ function there.
    r"\S+\.(?:h|hpp|c|cc|cpp|cu|cuh):\d+:?\s*(?:[\w:*&<>~, ]+?\([^()]*\)\s*(?:const\s+)?)?",
    r"\S+ == \S+ was false\. ",
    r"(?:See instructions:? )?https?://\S+",
)


def condense(text: str, kind: str = "") -> str:
    """Condense the error message of a runtime to one line: operator, node and cause.

    Parameters
    ----------
    text : str
        The message of the runtime's exception; it may have several lines.
    kind : str, optional
        Name of the exception's type, used if the text gives no cause.

    Returns
    -------
    str
        At most ``LONGEST`` characters, without a web address.
    """
    match = next((hit for pattern in _PLACES if (hit := pattern.search(text))), None)
    lines = [line for line in text.splitlines() if line.strip() and not _NOISE_LINES.fullmatch(line)]
    if "Traceback (most recent call last)" in text:
        lines = lines[-1:]  # the frames come before what was raised
    cause = " ".join(" ".join(lines).split())
    for pattern in _NOISE:
        cause = re.sub(pattern, "", cause)
    cause = (
        re.sub(r"^[-\s:;]+", "", " ".join(cause.split())) or f"{kind or 'an error'} without an explanation"
    )
    if match is not None:
        operator, node = match["operator"], match["node"]
        place = f"{operator} ({node})" if node else operator
        cause = f"{place}: {cause}"
    return cause if len(cause) <= LONGEST else f"{cause[: LONGEST - 2].rstrip()} …"
