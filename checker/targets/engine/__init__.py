"""Torch: a Hugging Face model that draws, scores and embeds."""
