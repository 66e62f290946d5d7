"""Of the list of all jobs only what cannot be somebody else's words is taken."""

import pytest

from datalad_slurm.jobs.tasks import TaskId
from datalad_slurm.slurm.describe import parse_many

RECORD = """\
JobId={id} {more}JobName={name}
   UserId=alice(1000) GroupId=alice(1000) MCS_label=N/A
   SubmitTime=1700000000 EligibleTime=1700000000
   WorkDir=/home/alice
   Comment={comment} 
   StdErr=/home/alice/slurm-{id}.out
   StdOut=/home/alice/slurm-{id}.out

"""  # noqa: W291 - so scontrol prints it
TOKENS = {5: "token-5", 6: "token-6"}


def record(number, comment="", name="job.sh", more=""):
    return RECORD.format(id=number, comment=comment or f"token-{number}", name=name, more=more)


def found(*records):
    return parse_many("".join(records).splitlines(keepends=True), TOKENS)


def test_the_jobs_that_are_asked_for_are_found():
    jobs = found(record(4), record(5), record(6), record(7))
    assert sorted(jobs) == [5, 6]
    assert jobs[5].tasks == (TaskId(5),)
    assert [log.pattern for log in jobs[6].logs] == ["/home/alice/slurm-6.out"]


@pytest.mark.parametrize(
    "records",
    [
        [record(5, comment="mine")],
        [record(5), record(5)],
        [record(4, name="a\n\n" + record(5, comment="other")), record(6)],
        [record(4, name="a\n\n" + record(5)), record(5)],
        [record(5, name="a\n\nb")],
        [record(5, more="ArrayJobId=5 ArrayTaskId=1-2 ")],
        [record(5, more="HetJobId=5 HetJobOffset=0 ")],
    ],
)
def test_a_record_that_may_be_feigned_or_is_not_all_is_left_out(records):
    assert 5 not in found(*records)


def test_nothing_is_found_in_no_answer():
    assert found("No jobs in the system\n") == found("") == {}
