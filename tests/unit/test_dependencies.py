"""What is typed behind ``--dependency``, and what is made of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalad_slurm.jobs.dependencies import (
    Relation,
    dependency_ids,
    joined,
    read_relations,
    replaced,
    with_relation,
)
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.model import JobStatus, TaskStatus
from datalad_slurm.jobs.plan import Action, FailedJobs, decide
from datalad_slurm.jobs.sbatch_options import read_call, split_words
from datalad_slurm.jobs.states import JobState
from datalad_slurm.jobs.tasks import TaskId
from datalad_slurm.slurm.depend import Wanted, depend
from datalad_slurm.slurm.pending import parse_dependency


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", []),
        ("singleton", []),
        ("afterok:12", [12]),
        ("afterok:12:13,afterany:14_3", [12, 13, 14]),
        ("after:12+10:13?afternotok:12", [12, 13]),
        ("aftercorr:7_*", [7]),
        ("123", [123]),
        ("expand:x", []),
    ],
)
def test_the_ids_in_a_dependency(text, ids):
    assert dependency_ids(text) == ids


@pytest.mark.parametrize(
    ("typed", "ids", "result"),
    [
        ("", [12, 13], "afterok:12:13"),
        ("singleton", [12], "singleton,afterok:12"),
        ("afterany:12", [12], "afterany:12,afterok:12"),
        ("afterok:12:13", [13, 12], "afterok:12:13"),
        ("afterok:12_3", [12], "afterok:12_3,afterok:12"),
        ("afterok:1?afterok:2", [], "afterok:1?afterok:2"),
    ],
)
def test_another_dependency_is_joined(typed, ids, result):
    assert joined(typed, ids) == result


def test_any_of_several_cannot_be_joined():
    with pytest.raises(InvalidRequestError, match="met by any of its parts"):
        joined("afterok:1?afterok:2", [3])


@pytest.mark.parametrize(
    ("text", "stand_ins", "result"),
    [
        ("afterok:12:13", {12: [20]}, "afterok:20:13"),
        ("afterok:12:13", {12: [20, 21], 13: ()}, "afterok:20:21"),
        ("afterok:12,singleton", {12: ()}, "singleton"),
        ("afterok:12?afterany:13", {12: ()}, "afterany:13"),
        ("afterany:12", {12: ()}, ""),
        ("after:12+5,aftercorr:12_7", {12: [9]}, "after:9+5,aftercorr:9_7"),
        ("afterok:112", {12: [9]}, "afterok:112"),
        ("12", {12: [9]}, "9"),
    ],
)
def test_other_jobs_take_the_place_of_those_that_were_typed(text, stand_ins, result):
    assert replaced(text, stand_ins) == result


_PARTS = st.lists(
    st.tuples(st.sampled_from(["afterok", "afterany"]), st.lists(st.integers(1, 99), min_size=1)),
    min_size=1,
)


@given(_PARTS, st.dictionaries(st.integers(1, 99), st.lists(st.integers(100, 200), max_size=2)))
def test_what_is_replaced_is_gone_and_all_else_stays(parts, stand_ins):
    text = ",".join(f"{kind}:{':'.join(map(str, ids))}" for kind, ids in parts)
    found = dependency_ids(replaced(text, stand_ins))
    kept = {i for _, ids in parts for i in ids if i not in stand_ins}
    new = {n for _, ids in parts for i in ids for n in stand_ins.get(i, ())}
    assert set(found) == kept | new


def test_relations_survive_their_notes_and_what_is_malformed_is_left_out():
    relation = Relation(12, "c", ("a",), ("a", "b/*"), "token", (12, 13), (7,), "abc")
    noted = [relation.to_note(), "x", {"slurm_job_id": True}, {"inputs": ["a"]}]
    assert read_relations(noted) == (relation,)
    assert read_relations(None) == ()
    assert Relation(5, typed=(5,)).to_json() == {
        "slurm_job_id": 5, "reason": "typed", "typed": [5],
    }  # fmt: skip


def test_a_job_that_is_typed_and_makes_an_input_is_one_relation():
    known = (Relation(12, inputs=("a",), token="t"),)
    (both,) = with_relation(known, Relation(12, token="t", typed=(12,)))
    assert (both.inputs, both.typed) == (("a",), (12,))


@pytest.mark.parametrize(
    ("command", "dependency"),
    [
        ("-d afterok:1 job.sh", "afterok:1"),
        ("-Hdafterok:1 job.sh", "afterok:1"),
        ("--depend=singleton -d afterany:2 job.sh -d afterok:3", "afterany:2"),
        ("job.sh", None),
    ],
)
def test_the_dependency_of_a_call(command, dependency):
    call = read_call(split_words(command))
    assert call is not None
    assert call.dependency == dependency


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("job.sh a b", "set -- --dependency=afterok:9 job.sh a b"),
        ("-J -x -- job.sh", "set -- -J -x --dependency=afterok:9 -- job.sh"),
        ("-d afterany:2 job.sh", "set -- -d afterany:2 --dependency=afterany:2,afterok:9 job.sh"),
        ("--wrap 'echo x'", "set -- '--wrap=echo x' --dependency=afterok:9"),
        ("-N1 : -N2 job.sh", "set -- --dependency=afterok:9 -N1 : -N2 job.sh"),
        ("-d afterok:9 job.sh", ""),
        ("--version", ""),
    ],
)
def test_the_words_for_sbatch(command, words, tmp_path):
    wanted = Wanted([9], "c", "c")
    assert depend(split_words(command), wanted, tmp_path / "stdin") == words


@pytest.mark.parametrize("command", ["-M d job.sh", "-Mc,d job.sh", "--clusters=all job.sh"])
def test_a_job_that_may_go_to_another_cluster_is_refused(command, tmp_path):
    with pytest.raises(InvalidRequestError, match="of another cluster"):
        depend(split_words(command), Wanted([9], "c", "c"), tmp_path / "stdin")


@pytest.mark.parametrize(
    ("said", "dependency"),
    [
        ("Dependency=(null)", ""),
        ("Dependency=afterok:46(failed)", "afterok:46"),
        ("Dependency=singleton(unfulfilled),afterok:171_*(unfulfilled)", "singleton,afterok:171"),
        ("Dependency=aftercorr:5_3(unfulfilled)", "aftercorr:5_3"),
    ],
)
def test_for_what_a_job_still_waits(said, dependency):
    text = f"JobId=5 JobName=x\n   JobState=PENDING Reason=Dependency {said}\n"
    assert parse_dependency(text) == dependency


def _waiting(index, reason):
    return TaskStatus(TaskId(5, index), JobState.PENDING, "PENDING", reason=reason)


@pytest.mark.parametrize(
    ("status", "failed_jobs", "action"),
    [
        (["DependencyNeverSatisfied"], FailedJobs.KEEP_OPEN, Action.REFUSE),
        (["DependencyNeverSatisfied"], FailedJobs.ACCEPT, Action.REFUSE),
        (["DependencyNeverSatisfied"] * 2, FailedJobs.CLOSE, Action.CLOSE),
        (["Dependency", "DependencyNeverSatisfied"], FailedJobs.CLOSE, Action.WAIT),
        (["Dependency"], FailedJobs.CLOSE, Action.WAIT),
    ],
)
def test_a_job_that_waits_in_vain_has_failed(status, failed_jobs, action):
    tasks = tuple(_waiting(index, reason) for index, reason in enumerate(status))
    assert decide(JobStatus(tasks), failed_jobs) is action
