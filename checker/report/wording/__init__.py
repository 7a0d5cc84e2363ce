"""The words of the report: everything a person reads that is not in the report model."""
