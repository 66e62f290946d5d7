"""Jobs of one id on several clusters, and jobs that were sent to a cluster by name."""

from __future__ import annotations

import json

import pytest
from datalad.api import slurm_finish, slurm_schedule

from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.tracking.store import Tracker
from tests.slurm.test_adopt import sbatch
from tests.slurm.test_schedule import finish, schedule


@pytest.fixture
def cluster(slurm):
    """Return the name of the testbed's cluster."""
    (line,) = [
        line
        for line in slurm.run("scontrol", "show", "config").splitlines()
        if line.startswith("ClusterName")
    ]
    return line.partition("=")[2].strip()


@pytest.fixture
def twins(box, slurm):
    """Return the id of two open jobs, one of the testbed and one of another cluster."""
    job = schedule(box, ["sbatch", "--wrap", "echo x > out"])
    tracker = Tracker(box.path / ".git/datalad-slurm")
    claim = TrackedJob(id=0, token="t", cmd="x", pwd=".", dsid="", outputs=("other",))
    tracker.adopt(claim, SlurmJob(job, "elsewhere"))
    slurm.wait(job)
    return job


def test_an_id_of_two_clusters_is_refused_and_the_names_are_told(box, twins, cluster):
    for args in (["slurm-finish"], ["slurm-finish", "--list-open-jobs"]):
        done = box.cli(*args, str(twins), code=1)
        assert f"jobs {twins} of the clusters {cluster} and elsewhere are open" in done.stdout
        assert f"'{twins};{cluster}' or '{twins};elsewhere'" in done.stdout


def test_a_job_is_named_with_its_cluster_everywhere(box, twins, cluster):
    name = f"{twins};{cluster}"
    done = box.cli("-f", "json", "slurm-finish", "--list-open-jobs", name)
    assert [json.loads(line)["outputs"] for line in done.stdout.splitlines()] == [["out"]]
    assert (
        f"no open job {twins};nowhere" in box.cli("slurm-finish", f"{twins};nowhere", code=1).stdout
    )
    assert {res["status"] for res in slurm_finish(name, dataset=box.path)} == {"ok"}
    assert "out" in box.files_in_last_commit()
    # the other one is the only job of that id now
    (result,) = slurm_finish(twins, dataset=box.path, on_failure="ignore")
    assert result["status"] == "impossible"
    assert "No cluster 'elsewhere' known" in result["message"]


@pytest.mark.parametrize("name", ["5;", ";c", "5;a b", "5;a,b", "x;c", "0;c"])
def test_what_is_no_name_of_a_job_is_refused(box, slurm, name):
    done = box.cli("slurm-finish", name, code=1)
    assert (
        "is no id of a Slurm job, such as 4711, 4711_3 or '4711;cluster'"
        in done.stdout + done.stderr
    )


def test_a_job_is_adopted_under_its_clusters_name_once(box, slurm, cluster):
    job = sbatch(box, "--wrap", "echo x > out")
    options = {"outputs": ["out"], "dataset": box.path, "result_renderer": "disabled"}
    (result,) = slurm_schedule(job_id=f"{job};{cluster}", **options)
    assert result["status"] == "ok"
    for name in (job, f"{job};{cluster}"):
        (again,) = slurm_schedule(job_id=name, on_failure="ignore", **options)
        assert "is tracked already" in again["message"]
    slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert "out" in box.files_in_last_commit()


_ELSEWHERE = """
[ "$1 $2" = "show config" ] && echo "ClusterName = elsewhere" && exit
case "$*" in *--clusters=*) exec "$real" "$@";; esac
[ -n "{empty}" ] || exec "$real" "$@"
"""
_LOSES_CONTACT = """
"$real" "$@" > {said} && echo 'sbatch: error: Socket timed out on send/recv operation' >&2
exit 1
"""


@pytest.mark.parametrize("how", ["option", "directive", "variable", "all"])
@pytest.mark.parametrize("comment", ["", "mine"])
def test_a_job_of_which_sbatch_did_not_tell_is_found_on_the_cluster_it_was_sent_to(
    box, slurm, cluster, stand_in, tmp_path, monkeypatch, how, comment
):
    """This cluster is made to look like another one, which does not hold the job."""
    body = f"#SBATCH -M {cluster}" if how == "directive" else ""
    box.script(f"{body}\necho x > out")
    options = [f"--comment={comment}"] if comment else []
    options += {"option": ["-M", cluster], "all": ["--clusters=all"]}.get(how, [])
    for program in ("squeue", "sacct"):
        stand_in(program, _ELSEWHERE.format(empty="yes"))
    stand_in("scontrol", _ELSEWHERE.format(empty=""))
    stand_in("sbatch", _LOSES_CONTACT.format(said=tmp_path / "said"))
    if how == "variable":
        monkeypatch.setenv("SBATCH_CLUSTERS", cluster)
    (result,) = [
        res
        for res in slurm_schedule(
            ["sbatch", *options, "job.sh"], outputs=["out"], dataset=box.path,
            result_renderer="disabled",
        )
        if res["action"] == "slurm-schedule"
    ]  # fmt: skip
    assert result["cluster"] == cluster
    assert f"batch job {result['slurm_job_id']} on cluster" in (tmp_path / "said").read_text()


def test_a_cluster_that_does_not_exist_is_a_plain_refusal(box, slurm):
    done = box.cli("slurm-schedule", "-o", "out", "sbatch", "-M", "nosuch", "--wrap", "x", code=1)
    assert "No cluster 'nosuch' known by database" in done.stdout
    assert "submitted no job" in done.stdout
    assert box.tracked() == []
    box.cli("slurm-schedule", "-o", "out", "sbatch", "--wrap", "echo x > out")
