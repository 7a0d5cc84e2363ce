"""A patient's way from file to token: the cohort, the model's tokens, and what an attacker's prompt holds."""
