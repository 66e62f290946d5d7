"""The example session of the DataLad handbook's page on Slurm, word by word."""

from __future__ import annotations

import json
import re

from tests.conftest import wait_until

_JOB = """\
#SBATCH --output={out}/05_02/slurm-%j.out
echo computing
{body}"""
_ARRAY = """\
#SBATCH --output=models/abrupt/platinum/slurm-%A_%a.out
#SBATCH --array=0-2
#SBATCH --time=1
mkdir -p models/abrupt/platinum
if [ "$SLURM_ARRAY_TASK_ID" = 2 ]; then sleep 300; fi
echo "$SLURM_ARRAY_TASK_ID" > models/abrupt/platinum/model_$SLURM_ARRAY_TASK_ID"""


def test_the_example_session_of_the_handbook(box, slurm):
    ids = {}
    bodies = {
        "gold": "gzip -c job_gold.slurm > models/abrupt/gold/05_02/model_0.model.gz",
        "silver": (
            "until [ -e ../go ]; do sleep 0.1; done; sleep 2; cd models/abrupt/silver/05_02\n"
            "echo m | gzip > model_0.model.gz; echo s | gzip > model.scaler.gz"
        ),
        "bronze": "exit 3",
    }
    for name, body in bodies.items():
        out = f"models/abrupt/{name}"
        (box.path / out / "05_02").mkdir(parents=True)
        box.script(_JOB.format(out=out, body=body), f"job_{name}.slurm")
    (box.path / "models/abrupt/platinum").mkdir()
    box.script(_ARRAY, "job_array_platinum.slurm")

    for name in ("gold", "silver", "bronze", "platinum"):
        script = "job_array_platinum.slurm" if name == "platinum" else f"job_{name}.slurm"
        done = box.cli("slurm-schedule", "-o", f"models/abrupt/{name}/", "sbatch", script)
        ids[name] = int(re.search(r"submitted Slurm job (\d+)", done.stdout)[1])

    slurm.wait(ids["gold"], ids["bronze"])
    slurm.wait(ids["silver"], until="RUNNING".__eq__)
    tasks = ("squeue", "--noheader", "--format=%T", f"--jobs={ids['platinum']}")
    wait_until(lambda: "RUNNING" in slurm.run(*tasks))
    listed = box.cli("slurm-finish", "--list-open-jobs").stdout.splitlines()
    assert listed[0] == "The following jobs are open:"
    assert listed[2].split()[:2] == ["slurm-job-id", "slurm-job-status"]
    states = {int(line.split()[0]): line.split()[1] for line in listed[3:]}
    assert states == {
        ids["gold"]: "COMPLETED",
        ids["silver"]: "RUNNING",
        ids["bronze"]: "FAILED",
        ids["platinum"]: "RUNNING",
    }

    (box.path.parent / "go").touch()
    slurm.wait(*ids.values())
    gold, silver = (f"models/abrupt/{name}/05_02" for name in ("gold", "silver"))
    done = box.cli("slurm-finish", code=1)
    lines = [line for line in done.stdout.splitlines() if "/slurm/archive/" not in line]
    # the order of the files of one job is not the point
    assert set(lines[:3]) == {
        f"add(ok): {gold}/slurm-{ids['gold']}.out (file)",
        f"add(ok): {gold}/slurm-job-{ids['gold']}.env.json (file)",
        f"add(ok): {gold}/model_0.model.gz (file)",
    }
    assert lines[3] == "save(ok): . (dataset)"
    assert set(lines[4:8]) == {
        f"add(ok): {silver}/slurm-{ids['silver']}.out (file)",
        f"add(ok): {silver}/slurm-job-{ids['silver']}.env.json (file)",
        f"add(ok): {silver}/model_0.model.gz (file)",
        f"add(ok): {silver}/model.scaler.gz (file)",
    }
    assert lines[8] == "save(ok): . (dataset)"
    bronze, platinum = ids["bronze"], ids["platinum"]
    assert lines[9].startswith(
        f"finish(impossible): [Slurm job(s) for job {bronze} are not complete. "
        f"Statuses: {bronze}: FAILED"
    )
    tasks = f"{platinum}_0: COMPLETED, {platinum}_1: COMPLETED, {platinum}_2: TIMEOUT"
    assert lines[10].startswith(
        f"finish(impossible): [Slurm job(s) for job {platinum} are not complete. Statuses: {tasks}"
    )
    for way_on in ("--accept-failed-jobs", "--close-failed-jobs", "run it again"):
        assert way_on in lines[9]
    assert lines[11:] == [
        # seven, two scripts, and the environment
        "action summary:", "  add (ok: 10)", "  finish (impossible: 2)", "  save (ok: 2)",
    ]  # fmt: skip

    done = box.cli("slurm-finish", "--close-failed-jobs")
    assert done.stdout.splitlines() == [
        f"finish(ok): [Closing failed / cancelled jobs. Statuses: {bronze}: FAILED]",
        f"finish(ok): [Closing failed / cancelled jobs. Statuses: {tasks}]",
        "action summary:",
        "  finish (ok: 2)",
    ]
    assert box.tracked() == []

    assert box.subjects(2) == [
        f"[DATALAD SLURM RUN] Slurm job {ids['silver']}: Completed",
        f"[DATALAD SLURM RUN] Slurm job {ids['gold']}: Completed",
    ]
    message = box.git("log", "-1", "--format=%B")
    head, _, rest = message.partition("=== Do not change lines below ===\n")
    record = json.loads(rest.partition("\n^^^ Do not change lines above ^^^")[0])
    assert head == f"[DATALAD SLURM RUN] Slurm job {ids['silver']}: Completed\n\n"
    slurm_files = [
        f"{silver}/slurm-{ids['silver']}.out",
        f"{silver}/slurm-job-{ids['silver']}.env.json",
    ]
    added = record.pop("slurm")
    assert record == {
        "chain": [],
        "cmd": "sbatch job_silver.slurm",
        "commit_id": None,
        "dsid": box.git("config", "-f", ".datalad/config", "datalad.dataset.id"),
        "extra_inputs": [],
        "inputs": [],
        "outputs": ["models/abrupt/silver", *slurm_files],
        "pwd": ".",
        "slurm_job_id": ids["silver"],
        "slurm_outputs": slurm_files,
    }
    assert added["state"] == "COMPLETED"
    assert added["exit_code"] == "0:0"
    assert added["elapsed"] >= 2
