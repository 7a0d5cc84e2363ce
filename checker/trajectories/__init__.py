"""T1: how near a model's continuations come to what truly followed, and whose records they repeat.

`reading` turns tokens into codes with times, `labels` says how alike two codes are, `distance` how
far apart two trajectories, `baselines` how far apart they would be by chance. `runs` looks for what
is repeated word for word, in the patient's own continuation or in anybody's record. `comparison`
puts them together. No model runs here: continuations are evidence by now.
"""

from checker.trajectories.baselines import Baselines
from checker.trajectories.comparison import Comparison, compare_continuations
from checker.trajectories.distance import (
    LARGEST_DISTANCE,
    trajectory_distances,
    transport_distance,
)
from checker.trajectories.labels import LabelVectors, label_vectors, labels_identity
from checker.trajectories.reading import Trajectory, TrajectoryReader
from checker.trajectories.runs import Regurgitation, longest_shared_runs, regurgitation

__all__ = [
    "LARGEST_DISTANCE",
    "Baselines",
    "Comparison",
    "LabelVectors",
    "Regurgitation",
    "Trajectory",
    "TrajectoryReader",
    "compare_continuations",
    "label_vectors",
    "labels_identity",
    "longest_shared_runs",
    "regurgitation",
    "trajectory_distances",
    "transport_distance",
]
