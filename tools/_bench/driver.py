"""Schedule many jobs in one process. Runs in the environment of the tool that is measured.

Reads on stdin what to schedule, writes the jobs' ids into the file that is its
argument.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def _job_id(results: list[dict[str, Any]]) -> int:
    for result in results:
        if result["action"] == "slurm-schedule" and result["status"] == "ok":
            # the peer has it in its record
            known = result.get("slurm_run_info", result)
            return int(known["slurm_job_id"])
    raise SystemExit(f"nothing was scheduled: {results}")


def main() -> None:
    wanted = json.load(sys.stdin)
    os.chdir(wanted["dataset"])
    from datalad.api import slurm_schedule

    ids = []
    for job in wanted["jobs"]:
        results = slurm_schedule(
            job["command"],
            outputs=job["outputs"],
            result_renderer="disabled",
            return_type="list",
        )
        ids.append(_job_id(results))
    Path(sys.argv[1]).write_text(json.dumps(ids))


if __name__ == "__main__":
    main()
