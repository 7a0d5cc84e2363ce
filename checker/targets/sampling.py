"""Which random numbers a rollout uses, and how they become tokens.

A draw must depend on the audit's seed, the prompt's key, the sample's number and the step, and on
nothing else: not on the batch, its order, or what was drawn before it. A counter-based generator
gives that (Philox: Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3").
Its key is (seed, prompt key), the top word of its counter the sample, so that streams never meet.

A uniform is turned into a token by the inverse of the distribution function *in the order of the
vocabulary*, not by rank: where two prompts differ a little, equal uniforms then mostly give equal
tokens, which is what comparing perturbed prompts under common random numbers relies on (METHODS
§2, T5).

The functions stand in the adapter, because servers of models draw by them too.
"""

from checker.targets.adapter.phigate_adapter import cut_at as cut_at
from checker.targets.adapter.phigate_adapter import shape_probabilities as shape_probabilities
from checker.targets.adapter.phigate_adapter import uniforms as uniforms
