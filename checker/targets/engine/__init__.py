"""Torch: a Hugging Face model that draws, scores and embeds."""

import os

from checker.extras import require_extra

# Where the package `kernels` is installed, transformers fetches code for some layers from the Hub
# unless this is set before it is imported; an audit computes with what is installed here.
os.environ.setdefault("USE_HUB_KERNELS", "NO")

require_extra("audit", "opening or training a model")
