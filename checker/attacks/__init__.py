"""Attacks: a folder each, behind the protocol in `checker.attacks.api`."""
