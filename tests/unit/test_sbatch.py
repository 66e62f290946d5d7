"""The ids of jobs in what sbatch, or a wrapper around it, printed."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from datalad_slurm.jobs.names import JobName
from datalad_slurm.slurm.sbatch import parse_printed
from tests.unit.captures import VERSIONS, capture, garbage


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("title", "cluster"),
    [
        ("plain", ""),
        ("parsable", ""),
        ("clusters", "testbed"),
        ("clusters, parsable", "testbed"),
        ("het", ""),
    ],
)
def test_the_job_that_sbatch_announces(version, title, cluster):
    (job,) = parse_printed(capture("sbatch", version, title))
    assert job.job_id > 0
    assert job.cluster == cluster


@pytest.mark.parametrize("version", VERSIONS)
def test_a_refusal_announces_no_job(version):
    assert parse_printed(capture("sbatch", version, "refused (stderr)")) == []


@pytest.mark.parametrize(
    ("text", "jobs"),
    [
        pytest.param("12\n", [JobName(12)], id="number"),
        pytest.param("12;c1\n", [JobName(12, "c1")], id="number-and-cluster"),
        pytest.param("checking\n  12  \ndone\n", [JobName(12)], id="number-in-a-line-of-its-own"),
        pytest.param("12\n13\n", [], id="two-numbers-may-be-anything"),
        pytest.param("job 12\n", [], id="number-in-a-sentence"),
        pytest.param("12;c1;x y\n", [], id="no-cluster"),
        pytest.param(
            "42\nSubmitted batch job 12\n7\n", [JobName(12)], id="numbers-beside-an-announcement"
        ),
        pytest.param(
            "Submitted batch job 12\nSubmitted batch job 13 on cluster c1\n",
            [JobName(12), JobName(13, "c1")],
            id="several-jobs",
        ),
        pytest.param("==> Submitted batch job 12.", [JobName(12)], id="inside-a-line"),
        pytest.param(
            "Submitted batch job 12\nSubmitted batch job 12\n",
            [JobName(12)],
            id="one-job-announced-twice",
        ),
        pytest.param("", [], id="nothing"),
    ],
)
def test_jobs_in_what_was_printed(text, jobs):
    assert parse_printed(text) == jobs


@pytest.mark.faults
@given(garbage("sbatch") | st.integers().map(lambda n: f"Submitted batch job {n}"))
@example("9" * 5000)
@example("Submitted batch job " + "9" * 5000)
def test_nothing_that_is_printed_breaks_the_parser(text):
    assert all(job.job_id >= 0 for job in parse_printed(text))
