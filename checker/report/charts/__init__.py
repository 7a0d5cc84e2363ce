"""What the report draws, each chart with everything it shows in words.

`canvas` is the only module that imports matplotlib, so whoever needs no chart imports none of this.
"""

from checker.report.charts.canvas import Chart
from checker.report.charts.characteristics import characteristics_charts
from checker.report.charts.ladder import ladder_chart
from checker.report.charts.leakage import leakage_charts
from checker.report.charts.membership import roc_charts
from checker.report.charts.overview import overview_chart
from checker.report.charts.people import people_charts
from checker.report.charts.perturbation import perturbation_charts
from checker.report.charts.power import power_charts

__all__ = [
    "Chart",
    "characteristics_charts",
    "ladder_chart",
    "leakage_charts",
    "overview_chart",
    "people_charts",
    "perturbation_charts",
    "power_charts",
    "roc_charts",
]
