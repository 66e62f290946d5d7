"""DataLad extension that schedules, tracks and records Slurm jobs.

Importing this package imports nothing else: `datalad` reads the command suite
of every installed extension on each call of any extension's command.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys

__all__ = ["command_suite"]

_COMMAND_SUITE = (
    "Track computations on clusters run by Slurm",
    [
        ("datalad_slurm.commands.schedule", "Schedule", "slurm-schedule", "slurm_schedule"),
        ("datalad_slurm.commands.finish", "Finish", "slurm-finish", "slurm_finish"),
        ("datalad_slurm.commands.reschedule", "Reschedule", "slurm-reschedule", "slurm_reschedule"),
        (
            "datalad_slurm.commands.checkpoint",
            "AskCheckpoint",
            "slurm-checkpoint",
            "slurm_checkpoint",
        ),
        ("datalad_slurm.commands.report", "Report", "slurm-report", "slurm_report"),
        ("datalad_slurm.commands.export", "Export", "slurm-export", "slurm_export"),
        ("datalad_slurm.commands.archive", "Archive", "slurm-archive", "slurm_archive"),
    ],
)


def __getattr__(name: str) -> object:
    """Return the command suite, for which datalad asks by the entry point."""
    if name != "command_suite":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if os.path.basename(sys.argv[0]) == "datalad":  # noqa: PTH119 - pathlib costs start-up time
        _respell_list_option()
        _collect_seldom()
    return _COMMAND_SUITE


def _respell_list_option() -> None:
    """Let datalad begin again with ``slurm-finish --list-open-jobs`` for ``slurm-finish -l``.

    datalad's own ``-l LEVEL`` makes its first look at the command line fail on
    our ``-l``, and then it imports every command there is, which takes longer
    than the whole listing. This is asked for before that.
    """
    try:
        place = sys.argv.index("-l", sys.argv.index("slurm-finish"))
    except ValueError:
        return
    if "_ARGCOMPLETE" in os.environ:
        return
    sys.argv[place] = "--list-open-jobs"
    from datalad.cli.main import main

    try:
        main(sys.argv)
    except Exception:
        # datalad would take it for a package that cannot be loaded, and go on without our commands
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
    sys.exit()


def _collect_seldom() -> None:
    """Let Python hardly look for garbage while one of our commands runs.

    What is imported, and what is read of thousands of jobs, stays until the
    end. At the end the memory is given back anyway; to look through all of it
    before that takes as long as a fifth of a short command.
    """
    if any(word.startswith("slurm-") for word in sys.orig_argv):
        gc.set_threshold(100_000)
        atexit.register(gc.freeze)
