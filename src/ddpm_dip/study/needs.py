"""What jobs need on a cluster: memory and time, with room to spare. docs/cluster.md has what was measured.

All jobs of a stage need what its largest does: an array of jobs has one request.
"""

from ..jobs.ledger import Planned
from . import Study


def of_study(study: Study, jobs: list[Planned]) -> dict[str, tuple[int, int]]:
    """Stage -> MB of memory and minutes, of those that a cluster runs."""
    return {stage: (2000, 30) for stage in {job.stage for job in jobs}}
