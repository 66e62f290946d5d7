"""What is said about packed directories: claims, names, manifests."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
from datalad_next.types import ArchivistLocator
from hypothesis import given, settings
from hypothesis import strategies as st

from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.jobs.packs import (
    PACK,
    Member,
    Pack,
    can_be_located,
    locator,
    made_at_finish,
    name_in_archive,
    packed_outputs,
    recorded_pack,
    rendered_manifest,
    with_archives,
)
from datalad_slurm.jobs.record import RunRecord

JOB = TrackedJob(1, "token", "sbatch job.sh", ".", "", ())
KEY = "MD5E-s10240--3da3fa2be52d5c4e11b562dd180b2ad9.tar"


def test_a_packed_directory_claims_its_archive_and_manifest():
    claims = with_archives(["a/b"])
    assert claims == ("a/b", "a/b.tar", "a/b.manifest.json")
    packing = replace(JOB, outputs=("c", "c.tar", *claims), extra={PACK: {"paths": ["a/b"]}})
    assert packed_outputs(packing) == ("a/b",)
    assert made_at_finish(packing) == {"a/b.tar", "a/b.manifest.json"}


def test_a_job_that_packs_nothing_has_no_packed_outputs():
    plain = replace(JOB, outputs=with_archives(["a"]))
    assert packed_outputs(plain) == ()
    assert made_at_finish(plain) == frozenset()


@pytest.mark.parametrize(
    ("noted", "expected"),
    [
        ({"paths": ["a"]}, Pack(("a",))),
        ({"paths": ["a", "b"], "only": True}, Pack(("a", "b"), only=True)),
        ({"paths": []}, None),
        ({"paths": "a"}, None),
        ({"paths": [1]}, None),
        (["a"], None),
        (None, None),
    ],
)
def test_what_a_record_holds_is_read_or_not_used(noted, expected):
    assert Pack.read(noted) == expected
    if expected:
        assert Pack.read(expected.to_json()) == expected


def test_recorded_directories_are_typed_for_the_directory_of_the_record():
    record = RunRecord("sbatch x", "", 1, pwd="d", slurm={PACK: {"paths": ["d/a", "b{c}"]}})
    assert recorded_pack(record) == Pack(("a", "../b{{c}}"))
    assert recorded_pack(replace(record, slurm={})) is None


@pytest.mark.parametrize(
    ("directory", "path", "name"),
    [("out", "out/a/b", "out/a/b"), ("x/y/out", "x/y/out/a", "out/a"), ("x/out", "x/out", "out")],
)
def test_names_in_an_archive_begin_with_the_directory(directory, path, name):
    assert name_in_archive(directory, path) == name


@pytest.mark.parametrize("name", ["a/b", "a b", "ä", "%41", "a+b", "a?b", "a=b", "a\\b"])
def test_the_special_remote_finds_the_name_in_the_locator_again(name):
    assert can_be_located(name)
    found = ArchivistLocator.from_str(locator(KEY, Member(name, 7, 512)))
    assert (str(found.akey), str(found.member), found.size) == (KEY, name, 7)
    assert found.atype is not None
    assert found.atype.value == "tar"


@pytest.mark.parametrize("name", ["a&b", "a#b", "a\nb", "a\tb", os.fsdecode(b"a\xff"), "a\0b"])
def test_names_that_a_locator_cannot_have_are_known(name):
    assert not can_be_located(name)


@settings(max_examples=50)
@given(st.binary(min_size=1, max_size=20).map(os.fsdecode), st.integers(0, 2**40))
def test_a_manifest_gives_every_member_back(name, size):
    members = [
        Member(name, size, 512, "0" * 64, is_executable=True),
        Member(name, target=name),
        Member(name),
    ]
    manifest = json.loads(rendered_manifest(f"{name}.tar", members))
    assert manifest["archive"] == f"{name}.tar"
    file, link, directory = manifest["members"]
    assert file == {
        "name": name, "size": size, "offset": 512, "sha256": "0" * 64, "executable": True,
    }  # fmt: skip
    assert link == {"name": name, "target": name}
    assert directory == {"name": name, "directory": True}
