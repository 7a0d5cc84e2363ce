"""A patient's way from file to token: cohort, tokens, and what an attacker's prompt holds."""
