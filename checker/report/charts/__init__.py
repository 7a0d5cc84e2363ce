"""What the report draws, each chart with everything it shows in words.

`canvas` is the only module that imports matplotlib, so whoever needs no chart imports none of this.
"""

from checker.report.charts.canvas import Chart
from checker.report.charts.glance import glance_chart
from checker.report.charts.leakage import leakage_charts
from checker.report.charts.membership import roc_charts
from checker.report.charts.perturbation import perturbation_charts
from checker.report.charts.power import power_charts

__all__ = [
    "Chart",
    "glance_chart",
    "leakage_charts",
    "perturbation_charts",
    "power_charts",
    "roc_charts",
]
