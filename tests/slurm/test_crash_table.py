"""slurm-schedule --table is killed or interrupted: the same call ends with one job a row."""

from __future__ import annotations

import pytest
from datalad.api import slurm_schedule

from datalad_slurm.workflow import table_ledger
from tests.conftest import Box
from tests.crash import INTERRUPT, KILL, Crasher
from tests.slurm.sweeps import (
    QUIET,
    assert_sound,
    claims,
    copy,
    jobs_in_history,
    noted_jobs,
)
from tests.slurm.test_schedule import finish

_ROWS = [{"name": name} for name in "abc"]
_OUTPUTS = [f"out_{row['name']}" for row in _ROWS]


def submit(box, **how):
    return slurm_schedule(
        ["sbatch", "--wrap", "echo {name} > out_{name}"], dataset=box.path, table=_ROWS,
        inputs=["in"], outputs=["out_{name}"], **how,
    )  # fmt: skip


def telling(steps):
    """Return the steps at which most is under way."""

    def places(is_one):
        return [at for at, step in enumerate(steps, 1) if is_one(step)]

    (unlocked,) = places(lambda step: step.startswith("after [") and "'unlock'" in step)
    _, second, _ = places(lambda step: step == "after sbatch")
    commits = [at for at in places(lambda step: step == "before commit") if at > second]
    note, describe = commits[0], commits[-1]
    return [unlocked, second - 1, second, note, note + 1, describe]


@pytest.mark.faults
@pytest.mark.parametrize("action", [KILL, INTERRUPT], ids=["kill", "interrupt"])
def test_a_table_that_is_stopped_submits_each_row_once(
    box, slurm, tmp_path, action, count_faults, monkeypatch
):
    # the first two are noted while the third is to come, however slow the machine is
    monkeypatch.setattr(table_ledger, "_NOTED_TOGETHER", 2)
    monkeypatch.setattr(table_ledger, "_NOTED_AFTER", 3600.0)
    for name in ("in", "out_b"):
        (box.path / name).write_text("old\n")
    box.cli("save", "-m", "an input, and an output that is unlocked first")
    (tmp_path / "copies").mkdir()
    copies = (tmp_path / "copies").resolve()
    crasher = Crasher(tmp_path / "crash", copies)
    boxes = []

    def prepare():
        copy(box.path, copies / f"{len(boxes):04}")
        boxes.append(Box(copies / f"{len(boxes):04}"))
        return lambda: submit(boxes[-1])

    whole = crasher.run(prepare())
    assert whole.code == 0, whole.output
    tried = telling(whole.steps)
    for at in tried:
        ended = crasher.run(prepare(), at, action)
        assert ended.code in (-9, 130, 1, 0), (at, ended.output)
        results = submit(boxes[-1], **QUIET)
        rows = [res for res in results if "line" in res]
        assert [res["line"] for res in sorted(rows, key=lambda res: res["line"])] == [1, 2, 3], (
            whole.steps[at - 1], results,
        )  # fmt: skip
        assert {res["status"] for res in rows} <= {"ok", "notneeded"}, (at, results)
        assert len(noted_jobs(boxes[-1])) == 3, whole.steps[at - 1]
        assert sorted(claims(boxes[-1])) == _OUTPUTS, whole.steps[at - 1]
    tracked = [job for each in boxes for job in noted_jobs(each)]
    listed = slurm.run("squeue", "-h", "-t", "all", "-o", "%A|%Z").splitlines()
    submitted = [int(line.split("|")[0]) for line in listed if f"|{copies}/" in line]
    assert sorted(submitted) == sorted(tracked)
    slurm.wait(*tracked)
    for each in boxes:
        jobs = sorted(noted_jobs(each))
        results = finish(each)
        assert {res["status"] for res in results} == {"ok"}, (each.path, results)
        assert jobs_in_history(each) == jobs
        assert [(each.path / out).read_text() for out in _OUTPUTS] == ["a\n", "b\n", "c\n"]
        assert_sound(each, str(each.path))
    count_faults("crash points", len(tried))
