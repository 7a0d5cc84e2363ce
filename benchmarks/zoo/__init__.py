"""Models of which it is known whether they leak, and what the shipped policies say of each.

`entries` is the table: what a model is, what it leaks, what would be right to say of it, and where
a policy allows a leak by its own limits. `keeping` makes patients and models, `study` audits them
and writes `docs/zoo.md`.

    python -m benchmarks.zoo --work zoo --out zoo.jsonl --docs docs/zoo.md

One outcome is one line of the file. What it has is not measured again.
"""
