"""`slurm-export` on made histories: what git and git-annex tell of files, and what is refused."""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from types import SimpleNamespace

import pytest
from datalad.api import slurm_export
from prov.model import ProvDocument

from datalad_slurm.dataset.whereabouts import find_whereabouts, public_addresses, special_remotes
from tests.dataset.test_report import PEER, Made

CRATE = "ro-crate-metadata.json"
BLOB = {"blob": "b" * 40}


@pytest.fixture
def history(box):
    return Jobs(box)


class Jobs(Made):
    """A history of jobs that is exported beside the dataset."""

    @property
    def crate(self):
        return self.box.path.parent / "crate"

    def export(self, revision=None, format="ro-crate", output=None, **kwargs):
        return slurm_export(
            format, str(output or self.crate), revision=revision, dataset=self.box.path,
            result_renderer="disabled", on_failure="ignore", **kwargs,
        )  # fmt: skip

    def exported(self, *args, **kwargs):
        """Return the entities of a crate, by their names."""
        results = self.export(*args, force=True, **kwargs)
        assert results[-1]["status"] == "ok"
        return {each.get("name"): each for each in entities(self.crate)}

    def actions(self, *args):
        found = self.exported(*args).values()
        return [each["name"] for each in found if each["@type"] == "CreateAction"]


def entities(crate):
    return json.loads((crate / CRATE).read_text())["@graph"]


def test_jobs_are_exported_in_the_order_of_history(history):
    first = history.made(1, {"a": "1"}, name="one")
    history.commit(PEER)
    history.made(2, {"b": "1"})
    assert history.actions() == ["Slurm job 1 (one)", "Slurm job 9", "Slurm job 2"]
    assert history.actions(f"{first}..") == ["Slurm job 9", "Slurm job 2"]
    assert history.actions(f"{first}^!") == ["Slurm job 1 (one)"]


def test_files_of_a_job_are_its_outputs_and_logs_and_nothing_else_of_its_commit(history):
    history.put({"other": "not the job's"})
    facts = "slurm-job-1.env.json"
    history.made(1, {"out/a": "12345"}, logs=["slurm-1.out", facts], script={"path": "job.sh"})
    found = history.exported()
    results = {each["@id"] for each in found["Slurm job 1"]["result"]}
    names = {each["name"] for each in found.values() if each["@id"] in results}
    assert names == {"out/a", "slurm-1.out"}
    assert found["out/a"]["contentSize"] == "5"
    blob = history.box.git("rev-parse", "HEAD:out/a")
    assert found["out/a"]["identifier"] == f"swh:1:cnt:{blob}"


def test_of_a_job_that_may_write_everywhere_what_finish_has_written_is_left_out(history):
    archived = f".datalad/slurm/archive/aa/{'a' * 64}.sh"
    history.put(dict.fromkeys([archived, "slurm-job-1.env.json", ".datalad/runinfo/x", "a"], "1"))
    history.job(1, ".", slurm_outputs=("slurm-job-1.env.json",))
    found = history.exported()
    assert found["Slurm job 1"]["result"]["@id"] == found["a"]["@id"]


def test_the_version_of_a_subdataset_that_a_job_has_made_is_told(history):
    commit = history.box.git("rev-parse", "HEAD")
    history.box.git("update-index", "--add", "--cacheinfo", f"160000,{commit},sub")
    history.job(1, "sub/out")
    found = history.exported()["sub"]
    assert (found["@type"], found["identifier"]) == ("Dataset", f"swh:1:rev:{commit}")


def test_a_record_that_cannot_be_read_is_named_and_hides_no_other(history):
    broken = history.commit(PEER.replace("^^^ Do not", "^^^ Do"))
    history.made(2, {"b": "1"})
    bad, good = history.export()
    assert (bad["status"], broken[:10] in bad["message"]) == ("error", True)
    assert (good["status"], good["jobs"]) == ("ok", 1)


@pytest.mark.parametrize("suffix", ["json", "provn"])
def test_prov_is_read_back_as_it_was_written(history, suffix):
    history.made(1, {"a b": "1", "ü/(x)": "2"}, name="one", inputs=[{"path": "raw"} | BLOB])
    target = history.box.path.parent / f"jobs.{suffix}"
    (result,) = history.export(format="prov", output=target)
    assert (result["status"], result["path"], result["jobs"]) == ("ok", str(target), 1)
    document = ProvDocument.deserialize(source=str(target), format=suffix)
    labels = {str(next(iter(each.get_attribute("prov:label")), "")) for each in document.records}
    assert labels >= {"a b", "ü/(x)", "raw", "Slurm job 1 (one)"}
    assert not list(target.parent.glob("*.part"))


def test_the_command_line_writes_relative_to_where_it_is_run(history):
    history.made(1, {"a": "1"})
    done = history.box.cli("-f", "json", "slurm-export", "--format", "ro-crate", "-o", "new")
    result = json.loads(done.stdout)
    assert (result["jobs"], result["format"]) == (1, "ro-crate")
    assert (history.box.path / "new" / CRATE).exists()


def test_what_cannot_be_exported_is_refused_in_one_sentence(history):
    start = history.box.git("rev-parse", "HEAD")
    history.made(1, {"a": "1"})
    there = history.box.path.parent / "there.json"
    there.write_text("mine")
    refused = [
        ({"revision": "nothing"}, "no commit 'nothing'"),
        ({"revision": f"{start}^!"}, "no commit of"),
        ({"revision": "HEAD..HEAD"}, "no commit of HEAD..HEAD holds the record of a Slurm job"),
        ({"revision": "a...b"}, "three dots"),
        ({"output": there}, "an RO-Crate is a directory"),
        ({"format": "prov", "output": there}, "--force replaces it"),
        ({"format": "prov", "output": "x.ttl"}, "ends in .json or .provn"),
        ({"format": "prov", "output": history.crate / "no" / "x.json"}, "cannot write"),
    ]
    for kwargs, said in refused:
        result = history.export(**kwargs)[-1]
        assert (result["status"], said in result["message"]) == ("impossible", True), result
    assert there.read_text() == "mine"
    assert not history.crate.exists()


def test_an_export_that_is_there_is_replaced_by_force_and_else_kept(history):
    history.made(1, {"a": "1"})
    history.export()
    history.made(2, {"b": "1"})
    (result,) = history.export()
    assert (result["status"], "--force" in result["message"]) == ("impossible", True)
    assert len([each for each in entities(history.crate) if each["@type"] == "CreateAction"]) == 1
    assert len(history.actions()) == 2


@pytest.mark.parametrize(("form", "package"), [("ro-crate", "rocrate"), ("prov", "prov")])
def test_a_library_that_is_not_installed_is_named(history, monkeypatch, form, package):
    history.made(1, {"a": "1"})
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "datalad_slurm.export.crate", raising=False)
    monkeypatch.delitem(sys.modules, "datalad_slurm.export.prov_document", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    (result,) = history.export(format=form, output="x.json")
    assert result["status"] == "impossible"
    assert f"needs the Python package '{package}'" in result["message"]


def test_a_dataset_without_an_id_is_refused(history):
    history.made(1, {"a": "1"})
    history.box.git("config", "-f", ".datalad/config", "--unset", "datalad.dataset.id")
    done = history.box.cli("slurm-export", "--format", "prov", "-o", "x.json", code=1)
    assert "has no id" in done.stdout + done.stderr


def test_where_files_can_be_had_is_told_without_names_of_hosts_and_passwords(history, tmp_path):
    box = history.box
    (tmp_path / "store").mkdir()
    box.git("annex", "initremote", "-q", "store", "type=directory", "encryption=none",
            f"directory={tmp_path}/store")  # fmt: skip
    box.git("config", "remote.hub.url", "https://me:secret@example.com/study.git")
    box.git("config", "remote.host.url", "ssh://me@host/study")
    (box.path / "data").write_text("annexed")
    box.git("-c", "annex.largefiles=anything", "annex", "add", "-q", "data")
    key = box.git("annex", "lookupkey", "data")
    box.git("annex", "copy", "-q", "--to", "store", "data")
    box.git("annex", "registerurl", key, "https://me:secret@example.com/data")
    history.job(1, "data")
    found = history.exported()["data"]
    assert (found["identifier"], found["contentSize"]) == (key, "7")
    assert found["contentUrl"] == "https://example.com/data"
    told = (history.crate / CRATE).read_text()
    assert "store (directory)" in told
    assert box.git("config", "annex.uuid") in told
    root = next(each for each in entities(history.crate) if each["@id"] == "./")
    assert root["url"] == "https://example.com/study.git"
    description = box.git("annex", "info", "--json", "here")
    assert json.loads(description)["description"].partition(" ")[0] not in told
    assert "secret" not in told


def test_a_key_that_git_annex_does_not_know_is_nowhere(history):
    key = "MD5E-s3--900150983cd24fb0d6963f7d28e17f72.txt"
    assert find_whereabouts(history.repo, [key, "no key"]).get("no key") is None
    assert find_whereabouts(history.repo, []) == {}
    assert (special_remotes(history.repo), public_addresses(history.repo)) == ({}, [])


def test_a_crate_passes_the_public_validator(history, monkeypatch):
    services = pytest.importorskip("rocrate_validator.services")
    offline(monkeypatch)
    slurm = {"cluster": "c", "submit": "2026-11-21T20:00:00+00:00", "cpus": 4, "cpu_seconds": 9.5,
             "start": "2026-11-21T20:01:00+00:00", "end": "2026-11-21T20:11:00+00:00",
             "elapsed": 600, "requested_memory": "4G", "nodes": "n1"}  # fmt: skip
    raw = {"path": "raw"} | BLOB
    many = {"path": "in/*", "files": 200, "digest": "d" * 64}
    script = {"path": "job.sh", "sha256": "a" * 64, "archived": ".datalad/slurm/archive/aa/a.sh"}
    history.made(1, {"mid/a b": "1", "mid/ü": "2"}, name="one", inputs=[raw, many], script=script,
                 **slurm)  # fmt: skip
    blob = history.box.git("rev-parse", "HEAD:mid/a b")
    wrap = {"wrap": True, "sha256": "e" * 64, "text": "#!/bin/sh\ntrue"}
    history.made(2, {"end": "1"}, logs=["slurm-2.out"], state="FAILED", exit_code="3:0",
                 inputs=[{"path": "mid/a b", "blob": blob}], script=wrap, **slurm)  # fmt: skip
    history.commit(PEER)
    history.export()
    report = services.validate({
        "rocrate_uri": str(history.crate), "profile_identifier": "process-run-crate",
        "skip_availability_check": True, "no_cache": True,
    })  # fmt: skip
    assert [f"{each.check.identifier}: {each.message}" for each in report.get_issues()] == []
    assert report.passed()


def offline(monkeypatch):
    """Give the validator the contexts that it asks for, as far as an export uses them.

    That of RO-Crate is a later one, as the library has it, in which these terms are the same.
    """
    from rocrate_validator.utils.http import HttpRequester

    crate = json.loads(files("rocrate").joinpath("data/ro-crate.jsonld").read_text())
    terms = ("resourceUsage", "ContainerImage", "containerImage", "md5", "sha1", "sha256", "sha512")
    vocabulary = "https://w3id.org/ro/terms/workflow-run"
    known = {
        "https://w3id.org/ro/crate/1.1/context": crate,
        f"{vocabulary}/context": {"@context": {term: f"{vocabulary}#{term}" for term in terms}},
    }

    def get(_, url, **__):
        told = known[url]
        headers = {"Content-Type": "application/ld+json"}
        return SimpleNamespace(
            status_code=200, headers=headers, text=json.dumps(told), json=lambda: told
        )

    monkeypatch.setattr(HttpRequester, "get", get, raising=False)
