"""What jobs have read and written, and how both forms of an export say it."""

from __future__ import annotations

import io
import json
import os
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prov.model import ProvDocument

from datalad_slurm.export.crate import write_crate
from datalad_slurm.export.prov_document import prov_document
from datalad_slurm.jobs.inputs import key_checksum
from datalad_slurm.jobs.job_summary import summarise
from datalad_slurm.jobs.provenance import Kind, base_iri
from datalad_slurm.jobs.record import RunRecord
from datalad_slurm.jobs.source import Source, Whereabouts
from datalad_slurm.jobs.trace import CommittedJob, Written, trace

DSID = "32a423d6-52ab-47e3-a9cd-54f418a48571"
BASE = f"arcp://uuid,{DSID}/"
KEY = "MD5E-s3--900150983cd24fb0d6963f7d28e17f72.txt"
OTHER_KEY = "MD5E-s0--d41d8cd98f00b204e9800998ecf8427e.txt"
#: names of files are bytes
NAMES = (
    st.binary(min_size=1, max_size=12)
    .filter(lambda name: b"\0" not in name and name != b".")
    .map(os.fsdecode)
)
TEXTS = st.text(st.characters(codec=None), max_size=8)


def commit(number):
    return f"{number:040x}"


def job(number, writes=(), reads=(), author="A Scientist", email="a@example.com", **record):
    """Return a job that has written paths, each with a key, and read others."""
    slurm = {"state": "COMPLETED", "inputs": [{"path": p, "key": k} for p, k in reads]}
    record = {"cmd": "sbatch job.sh", "dsid": DSID} | record
    slurm |= record.pop("slurm", {})
    found = RunRecord(slurm_job_id=number, slurm=slurm, **record)
    summary = summarise(found, ending="", commit=commit(number), date="2026-11-21T20:00:00+00:00")
    written = [Written(path, Kind.FILE, {"key": key}, 3) for path, key in writes]
    return CommittedJob(found, summary, author, email, written)


def source(**kwargs):
    date = "2026-11-21T20:00:00+00:00"
    return Source(DSID, "study", "Slurm jobs", date, commit(9), **kwargs)


def crate(activities, **kwargs):
    """Return the entities of a crate, by their ids."""
    file = io.BytesIO()
    write_crate(file, source(**kwargs), activities)
    entities = json.loads(file.getvalue())["@graph"]
    found = {each["@id"]: each for each in entities}
    assert len(found) == len(entities)
    return found


def links(entity, name):
    value = entity.get(name, [])
    return [each["@id"] for each in (value if isinstance(value, list) else [value])]


def test_what_one_job_has_written_others_read_as_the_same_entity():
    first, second = trace(DSID, [job(1, [("a", KEY)]), job(2, [("b", OTHER_KEY)], [("a", KEY)])])
    assert second.used == first.made
    assert first.made[0].iri == f"{BASE}a?commit={commit(1)}"
    assert second.informed_by == (first.iri,)


@pytest.mark.parametrize(
    "jobs",
    [
        [job(1, [("a", OTHER_KEY)])],
        [job(1, [("other", KEY)])],
        [],
    ],
    ids=["another content", "another path", "no job"],
)
def test_what_no_job_of_the_export_has_written_is_told_by_its_content(jobs):
    *_, last = trace(DSID, [*jobs, job(2, [], [("a", KEY)])])
    assert [each.iri for each in last.used] == [f"{BASE}a?key={KEY}"]
    assert last.informed_by == ()


def test_of_two_jobs_that_wrote_the_same_content_the_later_one_counts():
    jobs = [job(1, [("a", KEY)]), job(2, [("a", OTHER_KEY)]), job(3, [("a", KEY)])]
    *_, last = trace(DSID, [*jobs, job(4, [], [("a", KEY)])])
    assert last.used[0].iri.endswith(commit(3))


def test_a_job_that_replaces_its_input_reads_the_earlier_version():
    first, second = trace(DSID, [job(1, [("a", KEY)]), job(2, [("a", OTHER_KEY)], [("a", KEY)])])
    assert second.used == first.made
    assert second.made != first.made


def test_an_input_of_which_nothing_was_noted_comes_from_the_job_that_the_record_names():
    relation = {"slurm_job_id": 1, "commit": commit(1), "inputs": ["a"]}
    typed = {"slurm_job_id": 1, "commit": commit(1), "typed": [1]}
    first, second, third = trace(DSID, [
        job(1, [("a", KEY)]),
        job(2, inputs=("a",), slurm={"inputs": [], "depends_on": [relation]}),
        job(3, inputs=("b",), slurm={"inputs": [], "depends_on": [typed]}),
    ])  # fmt: skip
    assert second.used == first.made
    assert second.informed_by == (first.iri,)
    # that a job has waited for another does not tell that it has read of it
    assert (third.used[0].iri, third.informed_by) == (f"{BASE}b", ())


@pytest.mark.parametrize(
    ("noted", "iri", "kind"),
    [
        ({"path": "a", "size": 3, "mtime_ns": 4}, "a?size=3&mtime_ns=4", Kind.FILE),
        ({"path": "in/*", "files": 200, "digest": "d" * 64}, f"in/%2A?digest={'d' * 64}",
         Kind.DIRECTORY),
        ({"path": ".", "directory": True}, "", Kind.DIRECTORY),
        ({"path": "sub", "commit": "c" * 40}, f"sub?commit={'c' * 40}", Kind.SUBDATASET),
    ],
)  # fmt: skip
def test_inputs_are_told_as_they_were_noted(noted, iri, kind):
    (found,) = trace(DSID, [job(1, slurm={"inputs": [noted]})])
    assert [(each.iri, each.kind) for each in found.used] == [(BASE + iri, kind)]


def test_of_inputs_that_were_only_declared_nothing_more_is_said():
    (found,) = trace(DSID, [job(1, pwd="x", inputs=("in/*", "../../out"), slurm={"inputs": []})])
    assert [each.iri for each in found.used] == [f"{BASE}x/in/%2A", f"{BASE}#outside-..%2Fout"]
    assert {each.kind for each in found.used} == {Kind.OTHER}
    assert {crate([found])[each.iri]["@type"] for each in found.used} == {"CreativeWork"}


def test_a_missing_input_was_not_read():
    (found,) = trace(DSID, [job(1, slurm={"inputs": [{"path": "a", "missing": True}]})])
    assert found.used == ()


@pytest.mark.parametrize(
    ("script", "iri", "name"),
    [
        ({"path": "job.sh", "archived": ".datalad/x.sh", "sha256": "a" * 64}, ".datalad/x.sh",
         "job.sh"),
        ({"path": "job.sh", "archived": "../x.sh", "blob": "b" * 40},
         f"job.sh?blob={'b' * 40}#script", "job.sh"),
        ({"wrap": True, "sha256": "a" * 64, "text": "true"}, f"#script-{'a' * 64}",
         "sbatch --wrap"),
        ({"stdin": True, "sha256": "a" * 64}, f"#script-{'a' * 64}", "standard input"),
    ],
)  # fmt: skip
def test_the_script_is_what_was_run(script, iri, name):
    (found,) = trace(DSID, [job(1, slurm={"script": script})])
    assert [(each.iri, each.path) for each in found.scripts] == [(BASE + iri, name)]


def test_without_a_script_on_record_the_command_is_what_was_run():
    (found,) = trace(DSID, [job(1, cmd="sbatch old.sh")])
    assert [(each.path, each.text) for each in found.scripts] == [("command", "sbatch old.sh")]


@pytest.mark.parametrize(
    ("key", "checksum"),
    [
        ("MD5E-s3--900150983cd24fb0d6963f7d28e17f72.tar.gz",
         ("md5", "900150983cd24fb0d6963f7d28e17f72")),
        ("SHA256-s3--ab", ("sha256", "ab")),
        ("WORM-s3-m4--name", None),
        ("URL--http&c%%example.com", None),
        ("no key", None),
    ],
)  # fmt: skip
def test_the_checksum_in_a_key_is_known(key, checksum):
    assert key_checksum(key) == checksum


def test_identifiers_are_those_of_git_and_of_git_annex():
    blob, tree = {"path": "a", "blob": "b" * 40}, {"path": "s", "commit": "c" * 40}
    (found,) = trace(DSID, [job(1, slurm={"inputs": [blob, tree, {"path": "k", "key": KEY}]})])
    assert [each.identifier for each in found.used] == [
        f"swh:1:cnt:{'b' * 40}",
        f"swh:1:rev:{'c' * 40}",
        KEY,
    ]
    assert [each.kind for each in found.used] == [Kind.FILE, Kind.SUBDATASET, Kind.FILE]


def test_a_crate_has_an_action_for_each_job_with_what_it_read_wrote_and_cost():
    slurm = {"name": "fit", "start": "2026-11-21T20:00:00+00:00", "cluster": "c",
             "end": "2026-11-21T20:10:00+00:00", "elapsed": 600, "cpus": 2}  # fmt: skip
    activities = list(trace(DSID, [
        job(1, [("a", KEY)]), job(2, [("b", KEY)], [("a", KEY)], slurm=slurm),
    ]))  # fmt: skip
    place = Whereabouts(("https://example.com/a",), ("0000-1",))
    found = crate(activities, whereabouts={KEY: place}, remotes={"0000-1": "store (S3)"})
    actions = [each for each in found.values() if each["@type"] == "CreateAction"]
    assert [each["name"] for each in actions] == ["Slurm job 1", "Slurm job 2 (fit)"]
    action = actions[1]
    assert links(action, "object") == links(actions[0], "result")
    assert (action["startTime"], action["endTime"]) == (slurm["start"], slurm["end"])
    assert action["actionStatus"].endswith("/CompletedActionStatus")
    assert found[links(action, "agent")[0]]["email"] == "a@example.com"
    usage = {found[each]["name"]: found[each]["value"] for each in links(action, "resourceUsage")}
    assert usage == {"allocated CPUs": 2, "time it ran": 600, "allocated CPU time": 1200.0}
    file = found[links(action, "result")[0]]
    assert (file["md5"], file["contentSize"]) == ("900150983cd24fb0d6963f7d28e17f72", "3")
    assert file["contentUrl"] == "https://example.com/a"
    assert found[links(file, "archivedAt")[0]]["name"] == "store (S3)"
    assert {each["@id"] for each in found["./"]["hasPart"]} >= {file["@id"]}
    assert links(found["./"], "mentions") == [each["@id"] for each in actions]


@pytest.mark.parametrize(
    ("slurm", "status", "error"),
    [
        ({"state": "FAILED", "exit_code": "3:0"}, "Failed", "FAILED, exit code 3:0"),
        ({"state": "TIMEOUT"}, "Failed", "TIMEOUT"),
        ({"state": "COMPLETED", "exit_code": "0:0"}, "Completed", None),
        ({"state": ""}, None, None),
    ],
)
def test_a_crate_tells_how_a_job_has_ended(slurm, status, error):
    (activity,) = trace(DSID, [job(1, slurm=slurm)])
    action = crate([activity])[activity.iri]
    expected = status and f"http://schema.org/{status}ActionStatus"
    assert (action.get("actionStatus"), action.get("error")) == (expected, error)


def test_the_image_of_a_container_is_named():
    image = {"path": "env/image.sif", "key": "SHA256E-s9--ab.sif"}
    (activity,) = trace(DSID, [
        job(1, extra_inputs=("env/image.sif",), slurm={"container": "fsl", "inputs": [image]})
    ])  # fmt: skip
    found = crate([activity])
    container = found[links(found[activity.iri], "containerImage")[0]]
    assert (container["@type"], container["name"]) == ("ContainerImage", "fsl")
    assert (container["sha256"], links(container, "additionalType")) == (
        "ab", ["https://w3id.org/ro/terms/workflow-run#SIFImage"],
    )  # fmt: skip


def test_prov_says_who_used_what_and_no_derivation():
    activities = trace(DSID, [job(1, [("a", KEY)]), job(2, [("b", OTHER_KEY)], [("a", KEY)])])
    told = prov_document(source(), list(activities)).get_provn()
    one, two = (f"data:#job-{commit(number)}" for number in (1, 2))
    assert f'used({two}, data:a?commit\\={commit(1)}, -, [prov:role="input"])' in told
    assert f"wasGeneratedBy(data:b?commit\\={commit(2)}, {two}, -)" in told
    assert f"wasInformedBy({two}, {one})" in told
    assert "actedOnBehalfOf(data:#slurm, data:#person-a%40example.com" in told
    assert "wasDerivedFrom" not in told


@settings(max_examples=50)
@given(NAMES, NAMES, TEXTS, TEXTS)
def test_whatever_files_and_jobs_are_called_can_be_written_and_read_again(one, two, name, cmd):
    first = job(1, [(one, KEY)], author=name, email="", cmd=cmd)
    second = job(2, [], [(one, KEY), (two, OTHER_KEY)], slurm={"name": name, "cluster": name})
    activities = list(trace(DSID, [first, second]))
    (made,) = activities[0].made
    assert unquote_to_bytes(made.iri.removeprefix(BASE).partition("?")[0]) == os.fsencode(one)
    assert crate(activities)[made.iri]["identifier"] == KEY
    document = prov_document(source(), activities)
    for form in ("json", "provn"):
        told = document.serialize(format=form)
        assert ProvDocument.deserialize(content=told, format=form) == document


def test_iris_of_a_dataset_begin_with_its_id():
    assert base_iri("an id/") == "arcp://uuid,an%20id%2F/"
