"""The report: one model, and a renderer for each format; no format computes anything."""
