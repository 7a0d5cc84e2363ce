"""The families of models that people build, each trained and audited end to end.

One module a family, each a command that trains small models on the demo's kind of patients told in
that family's own way, audits the one that repeats its members, the one that does not and wrong
descriptions of the former, and prints a line for each; it exits 1 where one ended otherwise than it
must. `docs/targets.md` has the recipes and what was measured.

    python -m benchmarks.field.ehrmamba2 --work field
"""
