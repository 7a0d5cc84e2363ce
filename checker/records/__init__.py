"""A patient's way from file to token: the cohort, the model's tokens, an attacker's prompt."""
