"""Annexes: what authorities, experts and committees ask, filled from a report and its study.

The questions are data (`reports/annexes/*.yaml`), with how each is known. `filling` puts a report's
answers (`answers`, `coverage`) and the owner's declarations beside them; the formats only lay out.
An annex is made from a report as its audience may see it, and so says no more than that report.
"""
