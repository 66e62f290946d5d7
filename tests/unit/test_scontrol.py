"""What scontrol printed of a job, read."""

import json

import pytest
from hypothesis import given

from datalad_slurm.jobs.logs import LogName, candidates, names_by_task
from datalad_slurm.jobs.tasks import TaskId
from datalad_slurm.slurm import scontrol
from datalad_slurm.slurm.scontrol import parse_job, parse_records
from tests.unit.captures import VERSIONS, capture, captures, garbage

versions = pytest.mark.parametrize("version", VERSIONS)
DIR = "/home/alice/project"


def job(version, title):
    text = capture("scontrol", version, title)
    # the record of an array or het job that carries the id itself may not come first
    owner = next(
        record.get("ArrayJobId") or record.get("HetJobId") or record["JobId"]
        for record in parse_records(text)
    )
    return parse_job(text, int(owner))


@versions
@pytest.mark.parametrize("title", ["pending", "held", "running", "completed", "failed", "requeued"])
def test_a_plain_job(version, title):
    found = job(version, title)
    assert found.tasks == (TaskId(found.job_id),)
    assert found.name == title
    assert found.work_dir == DIR
    assert found.submitted > 1_700_000_000


@versions
def test_stdout_and_stderr_in_one_file_are_one_log(version):
    found = job(version, "completed")
    assert found.logs == (LogName(f"{DIR}/slurm-{found.job_id}.out"),)


@versions
def test_stderr_in_a_file_of_its_own_is_a_log(version):
    found = job(version, "failed")
    assert {log.pattern for log in found.logs} == {
        f"{DIR}/slurm-{found.job_id}.out",
        f"{DIR}/errors-{found.job_id}.txt",
    }


@versions
def test_dev_null_is_no_log(version):
    assert job(version, "held").logs == ()


def test_an_empty_stderr_is_no_log():
    text = capture("scontrol", "24.11", "completed")
    line = next(line for line in text.split("\n") if "StdErr=" in line)
    found = parse_job(text.replace(line, "   StdErr="), int(text[6:].split()[0]))
    assert len(found.logs) == 1


@versions
@pytest.mark.parametrize("title", ["array, pending", "array, partly run", "array, ended"])
def test_an_array_has_all_its_tasks_at_any_time(version, title):
    found = job(version, title)
    assert [task.index for task in found.tasks] == [0, 1, 2, 3, 4]


@versions
def test_the_logs_of_an_array_that_waits_are_for_all_its_tasks(version):
    found = job(version, "array, pending")
    assert found.logs == (LogName(f"{DIR}/slurm-{found.job_id}_4294967294.out"),)


@versions
def test_the_logs_of_tasks_that_run_are_their_own(version):
    found = job(version, "array, partly run")
    for task in found.tasks:
        (log,) = names_by_task(found.logs)(task)
        assert log == LogName(f"{DIR}/slurm-{found.job_id}_{task.index}.out", task.index)


@versions
@pytest.mark.parametrize("title", ["array of one, pending", "array of one, running"])
def test_the_log_of_an_array_of_one_is_found(version, title):
    # While it waits its record shows the one index, but not yet in the name of the log.
    found = job(version, title)
    (task,) = found.tasks
    (log,) = names_by_task(found.logs)(task)
    assert candidates(log, task, found.job_id, "n1")[0] == f"{DIR}/slurm-{found.job_id}_5.out"


@versions
def test_a_long_index_list_is_whole(version):
    assert len(job(version, "array, many indices").tasks) == 57


@versions
def test_of_a_cut_off_index_list_the_tasks_are_not_known(version):
    assert job(version, "array, many indices, cut off").tasks is None


@versions
def test_a_het_job_has_its_components(version):
    found = job(version, "het, running")
    assert [task.component for task in found.tasks] == [0, 1]
    assert {task.job_id for task in found.tasks} == {found.job_id}


@versions
@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("bars and blanks", "a|b  c d"),
        ("leading blank", " lead = x"),
        ("line break", "line"),
    ],
)
def test_a_name_may_hold_anything(version, title, name):
    found = job(version, f"odd name: {title}")
    assert found.name == name
    assert found.work_dir == DIR


@versions
@pytest.mark.parametrize("title", ["line break", "feigned record", "feigned log"])
def test_a_name_with_a_line_break_does_not_hide_or_feign_logs(version, title):
    text = capture("scontrol", version, f"odd name: {title}")
    found = parse_job(text, int(text[6:].split()[0]))
    assert found.logs == (LogName(f"{DIR}/log.txt"),)
    assert found.submitted is not None


@versions
def test_a_job_of_another_id_is_not_taken(version):
    found = parse_job(capture("scontrol", version, "completed"), 99999)
    assert found.tasks is None
    assert found.logs == ()


@versions
def test_facts_tell_what_the_job_asked_for(version):
    facts = job(version, "completed").facts
    assert facts["Partition"] == "main"
    assert facts["NumCPUs"] == "1"
    assert facts["CPUs/Task"] == "1"
    assert "cpu=1,mem=200M" in facts[{"22.05": "TRES", "24.11": "ReqTRES"}[version]]


@versions
def test_facts_leave_out_what_has_no_value(version):
    assert not {"(null)", "N/A", "Unknown", "None", ""} & set(job(version, "held").facts.values())


@versions
@pytest.mark.parametrize(
    "key", ["UserId", "GroupId", "Account", "QOS", "AllocNode:Sid", "Comment", "MailUser"]
)
def test_facts_leave_out_who_ran_the_job(version, key):
    assert key not in job(version, "comment").facts


@versions
@pytest.mark.parametrize("title", ["completed", "comment", "array, pending"])
def test_facts_hold_no_name_of_a_user(version, title):
    assert "alice" not in json.dumps(dict(job(version, title).facts))


@versions
def test_another_cluster_is_asked_by_name(version, monkeypatch):
    asked = []
    text = capture("scontrol", version, "clusters")
    monkeypatch.setattr(scontrol, "query", lambda argv, timeout: asked.append(argv) or text)
    found = scontrol.describe(int(text[6:].split()[0]), "testbed")
    assert found.cluster == "testbed"
    assert found.name == "completed"
    assert asked[0][:2] == ["scontrol", "--clusters=testbed"]


def test_nothing_is_lost_on_the_way_through_all_records():
    for text in captures("scontrol"):
        for record in parse_records(text):
            if "StdOut" in record:
                assert record["StdOut"] in text
                assert record["ExitCode"].count(":") == 1


@pytest.mark.faults
@given(garbage("scontrol"))
def test_nothing_that_is_printed_breaks_the_parser(text):
    for job_id in (1, 12, 20):
        assert parse_job(text, job_id).job_id == job_id
