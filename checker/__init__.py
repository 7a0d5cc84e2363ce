"""phigate: the release gate for clinical foundation models.

An institution's YAML policy is compiled into an audit plan; the plan's probes run against a
clinical model; what they observe becomes evidence; a pure function judges the evidence against the
policy; the report cites it.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
