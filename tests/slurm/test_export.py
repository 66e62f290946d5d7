"""`slurm-export` tells of a pipeline that a real Slurm has run."""

from __future__ import annotations

import json

from datalad.api import slurm_export
from prov.model import ProvCommunication, ProvDocument, ProvUsage

from tests.conftest import wait_until
from tests.slurm.test_schedule import finish, schedule


def export(box, form, output):
    (result,) = slurm_export(form, str(output), dataset=box.path, result_renderer="disabled")
    return result


def test_a_pipeline_of_three_stages_is_one_chain_of_files_and_jobs(box, slurm, tmp_path):
    (box.path / "raw").write_text("1 2 3\n")
    box.git("annex", "add", "-q", "raw")
    box.git("commit", "-qm", "raw data")
    box.script("cat raw > first; echo more >> first")
    one = schedule(box, ["sbatch", "-J", "one", "-c", "2", "job.sh"], ["first"], inputs=["raw"])
    two = schedule(box, ["sbatch", "--wrap", "wc < first > second"], ["second"], inputs=["first"])
    box.script("mkdir out; cp second 'out/a b'; exit 3", "last.sh")
    three = schedule(box, ["sbatch", "-J", "ü", "last.sh"], ["out/"], inputs=["second"])
    slurm.wait(one, two, three)
    # the accounting of a busy machine lags by more than a finish waits for
    wait_until(lambda: {slurm.state(job) for job in (one, two, three)} == {"COMPLETED", "FAILED"})
    results = finish(box, accept_failed_jobs=True)
    assert {res["status"] for res in results} == {"ok"}, results

    result = export(box, "ro-crate", tmp_path / "crate")
    assert (result["jobs"], result["type"]) == (3, "file")
    graph = json.loads((tmp_path / "crate" / "ro-crate-metadata.json").read_text())["@graph"]
    found = {each["@id"]: each for each in graph}
    actions = [each for each in graph if each["@type"] == "CreateAction"]
    names = [f"Slurm job {one} (one)", f"Slurm job {two} (wrap)", f"Slurm job {three} (ü)"]
    assert [each["name"] for each in actions] == names
    assert [each.get("error") for each in actions] == [None, None, "FAILED, exit code 3:0"]
    for action, script in zip(actions, ["job.sh", "sbatch --wrap", "last.sh"], strict=True):
        assert found[action["instrument"]["@id"]]["name"] == script
        assert action["startTime"] <= action["endTime"]
    # what one has written the next one has read
    read = [{found[each["@id"]]["name"]: each for each in action["object"]} for action in actions]
    made = [{found[each["@id"]]["name"]: each for each in action["result"]} for action in actions]
    assert read[1]["first"] == made[0]["first"]
    assert read[2]["second"] == made[1]["second"]
    assert {"out/a b", f"slurm-{three}.out"} == set(made[2])
    raw = found[read[0]["raw"]["@id"]]
    assert raw["identifier"] == box.git("annex", "lookupkey", "raw")
    assert found[raw["archivedAt"]["@id"]]["@id"] == f"urn:uuid:{box.git('config', 'annex.uuid')}"
    usage = [found[each["@id"]] for each in actions[0]["resourceUsage"]]
    assert {each["name"]: each["value"] for each in usage}["allocated CPUs"] == 2

    export(box, "prov", tmp_path / "jobs.json")
    document = ProvDocument.deserialize(source=str(tmp_path / "jobs.json"), format="json")
    names = [f"data:#{each['@id'].partition('#')[2]}" for each in actions]
    relations = document.get_records(ProvCommunication)
    informed = [tuple(str(end) for end in each.args[:2]) for each in relations]
    assert informed == [(names[1], names[0]), (names[2], names[1])]
    roles = [str(*each.get_attribute("prov:role")) for each in document.get_records(ProvUsage)]
    assert sorted(roles) == ["environment"] * 3 + ["input"] * 3 + ["script"] * 3
