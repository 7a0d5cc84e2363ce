"""The model under audit, behind verbs that hand out NumPy arrays.

`protocol` says what a model offers, `conformance` what is compared before one is audited, and
`sampling` how a draw follows from seed, key and sample. `backends` describe and open models without
torch; `engine` is what runs behind the Hugging Face one, and the only place that imports it.
"""

from checker.targets.protocol import (
    CAPABILITIES,
    LOGPROB_FLOOR,
    More,
    Progress,
    SampledScores,
    Sampler,
    TargetBackend,
    TargetDescription,
    TargetInfo,
    TargetModel,
    Tokens,
    TokenScores,
    require_fit,
)

__all__ = [
    "CAPABILITIES",
    "LOGPROB_FLOOR",
    "More",
    "Progress",
    "SampledScores",
    "Sampler",
    "TargetBackend",
    "TargetDescription",
    "TargetInfo",
    "TargetModel",
    "TokenScores",
    "Tokens",
    "require_fit",
]
