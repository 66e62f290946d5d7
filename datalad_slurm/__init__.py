"""DataLad extension that schedules, tracks and records Slurm jobs.

Importing this package imports nothing else: `datalad` reads the command suite
of every installed extension on each call of any of its commands.
"""

from __future__ import annotations

__all__ = ["command_suite"]

#: Read by datalad through the entry point group ``datalad.extensions``.
command_suite = (
    "Track computations on clusters run by Slurm",
    [
        ("datalad_slurm.commands.schedule", "Schedule", "slurm-schedule", "slurm_schedule"),
        ("datalad_slurm.commands.finish", "Finish", "slurm-finish", "slurm_finish"),
        ("datalad_slurm.commands.reschedule", "Reschedule", "slurm-reschedule", "slurm_reschedule"),
    ],
)
