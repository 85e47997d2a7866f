"""Why two sides differ: the first layer that does, the cause that a test confirmed, and what removes it.

Each room imports only rooms above it in this list; ``pyproject.toml`` holds the contract.

=============  =======================================================================================
files          model files as layers: points, and files made of them that return or replace these
inputs         what an input is made from, and the usual mistakes in making it
sides          a file on a target with some options, how it is run, and what it returned
layers         points of both sides matched, tapped, fed and compared
recipes        variants made again with another recipe, and what answers are worth
scene          the case, and what the test of a hypothesis comes to: what plug-ins import
operators      one layer by itself: its definition, and what a wrong one gives instead
emulation      arithmetic that errs, made on this machine and compared with a side
integers       integer layers: exact sums, ways to round, sums of 16 bits, changed scales
hypotheses     possible causes: in the file, the pipeline, the runtime, the quantization
search         hypotheses tested one after the other, and what a remedy does
reproducers    a difference as a file of a few operators with a script
requests       what is asked: two sides, the failures of a run, two stored runs
words          an explanation as text and as JSON
patch          a remedy as lines of the user's own TOML file
command        ``harness explain``
=============  =======================================================================================
"""
