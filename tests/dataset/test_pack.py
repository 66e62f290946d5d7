"""Archives of packed directories, and the files that git-annex gets out of them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalad_slurm.dataset.archivist import archivist_uuid
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.pack_archive import Entry, write_archive
from datalad_slurm.dataset.pack_members import PackedFile, register
from datalad_slurm.dataset.stage import stage
from datalad_slurm.jobs.errors import TransferError
from tests.conftest import Box

NAMES = st.binary(min_size=1, max_size=120).filter(
    lambda name: (
        not {b"\0", b"/"} & {name[i : i + 1] for i in range(len(name))}
        and name not in (b".", b"..")
    )
)
KINDS = st.one_of(st.binary(max_size=2000), st.text("abc/.", min_size=1, max_size=150), st.none())


def entries_of(directory: Path, contents: dict[bytes, bytes | str | None]) -> list[Entry]:
    """Return entries for files, links and empty directories; the files are written."""
    entries = []
    for number, (raw, content) in enumerate(sorted(contents.items())):
        name = f"top/{os.fsdecode(raw)}"
        if content is None:
            entries.append(Entry(name))
        elif isinstance(content, str):
            entries.append(Entry(name, target=content))
        else:
            source = directory / str(number)
            source.write_bytes(b"before" + content + b"behind")
            is_executable = bool(number % 2)
            entries.append(Entry(name, source, 6, len(content), is_executable=is_executable))
    return entries


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(NAMES, KINDS, max_size=8))
def test_an_archive_holds_what_was_packed_and_tells_where(tmp_path_factory, contents):
    directory = tmp_path_factory.mktemp("archive")
    target = directory / "x.tar"
    entries = entries_of(directory, contents)
    written = write_archive(entries, target, "md5")
    whole = target.read_bytes()
    assert written.digest == hashlib.md5(whole).hexdigest()
    with tarfile.open(target) as archive:
        assert archive.getnames() == [f"top/{os.fsdecode(raw)}" for raw in sorted(contents)]
        for member, digest, (raw, content) in zip(
            written.members, written.digests, sorted(contents.items()), strict=True
        ):
            found = archive.getmember(member.name)
            assert (found.mtime, found.uid, found.gid) == (0, 0, 0)
            if isinstance(content, bytes):
                assert member.offset is not None
                assert whole[member.offset : member.offset + member.size] == content, raw
                assert member.sha256 == hashlib.sha256(content).hexdigest()
                assert digest == hashlib.md5(content).hexdigest()
                assert found.mode == (0o755 if member.is_executable else 0o644)
                assert found.isfile()
            else:
                assert found.issym() == isinstance(content, str)
                assert found.linkname == (content or "")
    again = write_archive(entries, directory / "again.tar", "md5")
    assert (again.digest, again.members) == (written.digest, written.members)


def test_gnu_tar_unpacks_an_archive_to_what_was_packed(tmp_path):
    (tmp_path / "script").write_text("run\n")
    entries = [
        Entry("d/empty"),
        Entry("d/l", target="new\nline"),
        Entry("d/new\nline", tmp_path / "script", 0, 4, is_executable=True),
    ]
    write_archive(entries, tmp_path / "d.tar", "sha256")
    subprocess.run(["tar", "-xf", "d.tar"], check=True, cwd=tmp_path)
    assert (tmp_path / "d/empty").is_dir()
    assert os.readlink(tmp_path / "d/l") == "new\nline"
    assert (tmp_path / "d/l").read_text() == "run\n"
    assert os.access(tmp_path / "d/new\nline", os.X_OK)


@pytest.mark.parametrize("happens", ["shorter", "written"])
def test_a_file_that_changes_while_it_is_packed_is_not_packed(tmp_path, happens):
    source = tmp_path / "f"
    source.write_text("content\n")
    found = source.stat()
    stat = (found.st_size, found.st_mtime_ns, found.st_ino)
    if happens == "shorter":
        source.write_text("cont\n")
    else:
        os.utime(source, ns=(0, 0))
    entry = Entry("f", source, 0, 8, file_stat=stat)
    with pytest.raises(TransferError, match="changed while it was packed"):
        write_archive([entry], tmp_path / "f.tar", "md5")


def test_a_pointer_is_not_packed_in_place_of_the_content_that_is_not_here(tmp_path):
    source = tmp_path / "f"
    source.write_text("/annex/objects/MD5E-s8000--3d083845a0f8b097caeb2da78c1deadf.dat\n")
    entry = Entry("d/f", source, 0, source.stat().st_size)
    with pytest.raises(TransferError, match="'d/f' is an annexed file whose content is not here"):
        write_archive([entry], tmp_path / "d.tar", "md5")


def registered(box, backend, names):
    """Pack files in a directory `d`, and register them; return what is to be committed."""
    repo = Repo(box.path)
    box.git("config", "annex.backend", backend)
    entries = []
    for number, name in enumerate(names):
        source = box.path / name
        source.parent.mkdir(exist_ok=True)
        source.write_text(f"{number % 3}\n")
        entries.append(Entry(name, source, 0, source.stat().st_size))
    algorithm = backend.removesuffix("E").lower()
    written = write_archive(entries, box.path / "d.tar", algorithm)
    key = stage(repo, ["d.tar"]).changes["d.tar"].key
    assert written.digest in key
    files = [
        (key, PackedFile(name, member, digest, None))
        for name, member, digest in zip(names, written.members, written.digests, strict=True)
    ]
    return repo, key, files, register(repo, backend, files)


def logs(box):
    """Return the content of git-annex's branch, without times."""
    found = {}
    for path in box.git("ls-tree", "-r", "--name-only", "git-annex").splitlines():
        lines = box.git("cat-file", "blob", f"git-annex:{path}").splitlines()
        if path.endswith((".log", ".web")) and "/" in path:
            found[path] = {line.partition(" ")[2] for line in lines}
    return found


@pytest.mark.parametrize("backend", ["MD5E", "SHA256E", "SHA512"])
def test_registered_files_are_what_git_annex_would_make_of_them(box, tmp_path, backend):
    (box.path / ".gitattributes").write_text("")
    names = ["d/a.csv", "d/b.tar.gz", "d/c", "d/e.verylongextension", "d/f g.t-t", "d/ä.1.2.3"]
    repo, archive_key, files, changes = registered(box, backend, names)
    ours = logs(box)
    # the same, made by git-annex itself
    keys = {}
    for change, (_, file) in zip(changes, files, strict=True):
        (key,) = [box.git("annex", "calckey", f"--backend={backend}", file.path)]
        keys[file.path] = key
        assert change.key == key
        box.git("annex", "add", "-c", "annex.largefiles=anything", file.path)
        assert change.blob == box.git("rev-parse", f":{file.path}")
    uuid = archivist_uuid(repo)
    here = box.git("config", "annex.uuid")
    for path in ours:
        key = path.rpartition("/")[2].removesuffix(".web").removesuffix(".log")
        if key == archive_key:
            assert ours[path] == {f"1 {here}"}
        elif path.endswith(".web"):
            (line,) = ours[path]
            assert line.startswith(f"1 :dl+archive:{archive_key}#path=d/")
        else:
            assert ours[path] == {f"1 {uuid}"}
    before = logs(box)
    for path, key in keys.items():
        url = f"dl+archive:{archive_key}#path={path}&size=2&atype=tar"
        box.git("annex", "registerurl", key, url)
        box.git("annex", "setpresentkey", key, uuid, "1")
    assert logs(box).keys() == before.keys()


def test_a_content_in_several_archives_is_known_to_be_in_each(box):
    repo, key, files, _ = registered(box, "MD5E", ["d/a"])
    (_, file), other = files[0], key.replace(key[-9:], "00000.tar")
    (change, _) = register(repo, "MD5E", [(key, file), (other, file)])
    told = box.git("annex", "whereis", f"--key={change.key}")
    assert f"archivist: dl+archive:{key}#path=d/a&size=2&atype=tar" in told
    assert f"archivist: dl+archive:{other}#path=d/a&size=2&atype=tar" in told


def test_a_special_remote_that_is_there_is_used_and_enabled(box):
    repo = Repo(box.path)
    uuid = archivist_uuid(repo)
    assert archivist_uuid(repo) == uuid
    box.git("remote", "remove", "archivist")
    assert archivist_uuid(repo) == uuid
    assert box.git("config", "remote.archivist.annex-uuid") == uuid


def test_another_remote_of_that_name_is_left_alone(box):
    box.git("remote", "add", "archivist", "/nowhere")
    uuid = archivist_uuid(Repo(box.path))
    assert box.git("config", "remote.archivist-2.annex-uuid") == uuid
    assert box.git("config", "remote.archivist.url") == "/nowhere"
    assert archivist_uuid(Repo(box.path)) == uuid


def test_clones_that_make_the_remote_on_their_own_make_the_same(box, tmp_path):
    clone = Box(tmp_path / "clone")
    box.cli("clone", str(box.path), str(clone.path), cwd=tmp_path)
    uuid = archivist_uuid(Repo(clone.path))
    assert archivist_uuid(Repo(box.path)) == uuid
    box.git("fetch", "-q", str(clone.path), "git-annex:refs/remotes/clone/git-annex")
    box.git("annex", "merge", "--quiet")
    known = box.git("cat-file", "blob", "git-annex:remote.log").splitlines()
    assert {line.split()[0] for line in known} == {uuid}
