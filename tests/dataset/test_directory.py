"""Directories that grow entry by entry: what is written is what git itself would write."""

from __future__ import annotations

import io
import os
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datalad_slurm.dataset import directory as module
from datalad_slurm.dataset import entry_blocks
from datalad_slurm.dataset.commit_objects import Roots
from datalad_slurm.dataset.commits import NewCommit, build, drop_private_refs
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.objects import ObjectReader
from datalad_slurm.dataset.stage import Change
from datalad_slurm.jobs.errors import DatasetError

NAMES = st.sampled_from(["a", "a.b", "a-", "a0", "b", "ü", os.fsdecode(b"\xff"), "c d", 'q"\n'])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
MODES = st.sampled_from(["100644", "100755", "120000"])
#: a path, and a mode and the number of a blob, or nothing for a deletion
STEPS = st.tuples(PATHS, st.none() | st.tuples(MODES, st.integers(0, 2)))
COMMITS = st.lists(st.lists(STEPS, max_size=6), min_size=1, max_size=8)


def git(path, *args, stdin: bytes = b"", text: bool = True):
    done = subprocess.run(["git", "-C", path, *args], input=stdin, capture_output=True, check=True)
    return os.fsdecode(done.stdout).strip() if text else done.stdout


@pytest.fixture(scope="module", params=["sha1", "sha256"])
def plain(request, tmp_path_factory):
    """A repository without git-annex, and three blobs."""
    path = tmp_path_factory.mktemp(request.param)
    git(path, "init", "--quiet", f"--object-format={request.param}")
    git(path, "config", "user.name", "T")
    git(path, "config", "user.email", "t@example.com")
    blobs = [git(path, "hash-object", "-w", "--stdin", stdin=b"%d" % n) for n in range(3)]
    return Repo(path), blobs


def told_git(repo, base: str, commits: list[NewCommit]) -> list[str]:
    """Return the trees that git makes of the same changes, a second implementation."""
    stream = b""
    for number, commit in enumerate(commits, 1):
        stream += b"commit refs/heads/theirs\nmark :%d\ncommitter T <t> 1 +0000\ndata 0\n" % number
        if number == 1 and base:
            stream += f"from {base}\n".encode()
        for change in sorted(commit.changes, key=lambda each: not each.is_deletion):
            raw = os.fsencode(change.path).replace(b'"', b'\\"').replace(b"\n", b"\\n")
            how = f"M {change.mode} {change.blob}" if change.mode else "D"
            stream += how.encode() + b' "' + raw + b'"\n'
    marks = repo.root / "marks"
    git(repo.root, "fast-import", "--quiet", "--force", f"--export-marks={marks}", stdin=stream)
    by_mark = dict(line.split() for line in marks.read_text().splitlines())
    ids = [by_mark[f":{number}"] for number in range(1, len(commits) + 1)]
    git(repo.root, "update-ref", "-d", "refs/heads/theirs")
    return trees_of(repo, ids)


def trees_of(repo, ids: list[str]) -> list[str]:
    return git(repo.root, "rev-parse", *(f"{each}^{{tree}}" for each in ids)).split()


def planned(blobs, steps) -> tuple[Change, ...]:
    last = {path: Change(path, what[0], blobs[what[1]]) if what else Change(path)
            for path, what in steps}  # fmt: skip
    return tuple(last.values())


@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(first=COMMITS, more=COMMITS, largest=st.sampled_from([2, 4, 128]))
def test_commits_hold_what_git_makes_of_the_same_changes(plain, first, more, largest):
    repo, blobs = plain
    base = ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entry_blocks, "_LARGEST_BLOCK", largest)
        patch.setattr("datalad_slurm.dataset.commits.check_commits", lambda *_: None)
        for steps in (first, more):
            commits = [NewCommit("m\n", planned(blobs, each)) for each in steps]
            ids = build(repo, "x", base, commits)
            assert trees_of(repo, ids) == told_git(repo, base, commits)
            base = ids[-1]
    drop_private_refs(repo)


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(commits=COMMITS, most_compared=st.sampled_from([1, 200, 2**28]))
def test_commits_of_any_changes_pass_their_check(plain, commits, most_compared):
    repo, blobs = plain
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datalad_slurm.dataset.commit_checks._MOST_COMPARED", most_compared)
        try:
            build(repo, "x", "", [NewCommit("m\n", planned(blobs, each)) for each in commits])
        finally:
            drop_private_refs(repo)


@pytest.fixture(scope="module")
def grown(plain):
    """A directory of 3,000 files, and 400 commits that each add some, and take some away."""
    repo, blobs = plain
    files = tuple(Change(f"d/{n:05d}", "100644", blobs[0]) for n in range(3000))
    (base,) = build(repo, "base", "", [NewCommit("base\n", files)])
    commits = [
        NewCommit(f"commit {n}\n", (
            Change(f"d/{n * 7919 % 3000:05d}-x", "100644", blobs[1]),
            Change(f"d/{1000 + n * 104729 % 1500:05d}/in/it", "100755", blobs[2]),
            Change(f"d/{n:05d}", "120000", blobs[2]),
            Change(f"d/{2999 - n:05d}"),
        ))
        for n in range(400)
    ]  # fmt: skip
    return repo, base, commits, build(repo, "y", base, commits)


def test_a_directory_that_grows_is_kept_as_differences_that_git_reads(grown):
    repo, base, commits, ids = grown
    git(repo.root, "fsck", "--strict", "--no-dangling")
    assert trees_of(repo, ids) == told_git(repo, base, commits)
    packs = sorted(repo.root.glob(".git/objects/pack/*.idx"), key=lambda each: each.stat().st_size)
    lines = [
        line for pack in packs for line in git(repo.root, "verify-pack", "-v", pack).split("\n")
    ]
    depths = [int(line.split()[5]) for line in lines if len(line.split()) == 7]
    assert max(depths) < 100
    packed = sum(int(line.split()[3]) for line in lines if " tree " in line)
    assert packed < 500_000  # 400 versions of about 110 kB


def test_a_directory_tells_which_files_it_holds(grown):
    repo, _, _, ids = grown
    listed = git(repo.root, "ls-tree", "-r", "--name-only", ids[-1]).split()
    absent = ["", "d", "e", "d/01000/in", "d/01000/in/it/more", "d/00000/x", "d/02999", "e/f"]
    with ObjectReader(repo) as reader:
        parents = (ids[-1],)
        root = Roots(reader, len(ids[-1]) // 2, [parents]).grown_from(parents, ())
        assert [path for path in listed + absent if root.holds(path.encode().split(b"/"))] == listed


def test_each_commit_is_as_the_plan_says(grown):
    repo, base, _, ids = grown
    shown = git(repo.root, "cat-file", "commit", ids[-1])
    assert f"parent {ids[-2]}\nauthor T <t@example.com> " in shown
    assert shown.endswith("\n\ncommit 399")
    assert git(repo.root, "rev-parse", f"{ids[0]}^") == base
    assert (
        git(repo.root, "for-each-ref", "--format=%(objectname)", f"{repo.private_refs}y*")
        == ids[-1]
    )
    drop_private_refs(repo)


@pytest.mark.parametrize("path", ["a/.git/hooks/x", ".GIT/x", "a/../x", "a//x", "./x"])
def test_a_path_that_git_refuses_is_refused(plain, path):
    repo, blobs = plain
    with pytest.raises(DatasetError, match="in its path"):
        build(repo, "z", "", [NewCommit("m\n", (Change(path, "100644", blobs[0]),))])


def test_content_that_git_does_not_have_is_not_committed(plain):
    repo, blobs = plain
    missing = Change("b", "100644", "1" * len(blobs[0]))
    with pytest.raises(DatasetError, match="does not have the content that 'b' is to hold"):
        build(repo, "z", "", [NewCommit("m\n", (Change("a", "100644", blobs[0]), missing))])


def test_a_directory_that_cannot_be_read_is_refused():
    with pytest.raises(DatasetError, match="cannot be read"):
        module.Directory(lambda name: None, 20, b"100644 a\0too short")


@pytest.mark.parametrize(
    "answer", [b"1234 tree 100\nbroken off", b"1234 tree 5\nwhole", b"5678 tree 5\nother\n"]
)
def test_an_answer_of_git_that_breaks_off_or_is_another_is_refused(plain, monkeypatch, answer):
    repo, _ = plain
    with ObjectReader(repo) as reader, monkeypatch.context() as patch:
        patch.setattr(reader._process, "stdout", io.BytesIO(answer))
        with pytest.raises(DatasetError, match=r"ended early|answered about 5678"):
            list(reader.read_all(["1234"], "tree"))


def test_directories_out_of_order_are_refused():
    entries = b"".join(b"100644 %s\0%s" % (name, bytes(20)) for name in (b"z", b"a"))
    with pytest.raises(DatasetError, match="not in order"):
        module.Directory(lambda name: None, 20, entries)


def test_a_directory_of_very_old_tools_is_a_directory(plain):
    repo, blobs = plain
    (base,) = build(repo, "old", "", [NewCommit("m\n", (Change("d/a", "100644", blobs[0]),))])
    tree = git(repo.root, "cat-file", "tree", f"{base}^{{tree}}", text=False)
    listed = tree.replace(b"40000 d", b"040755 d")
    odd = git(repo.root, "hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=listed)
    base = git(repo.root, "commit-tree", "-m", "odd", odd)
    changes = (Change("d/b", "100644", blobs[1]), Change("d/a"))
    (new,) = build(repo, "new", base, [NewCommit("m\n", changes)])
    assert git(repo.root, "ls-tree", "-r", "--name-only", new) == "d/b"
    drop_private_refs(repo)


def test_a_path_that_is_too_deep_is_refused(plain):
    repo, blobs = plain
    deep = Change("/".join("d" * 2000), "100644", blobs[0])
    with pytest.raises(DatasetError, match="directories deep"):
        build(repo, "z", "", [NewCommit("m\n", (deep,))])


def test_equal_commits_are_one(plain):
    repo, blobs = plain
    commit = NewCommit("m\n", (Change("a", "100644", blobs[0]),), parents=())
    first, second = build(repo, "twice", "", [commit, commit])
    assert first == second
    drop_private_refs(repo)


def test_commits_side_by_side_keep_only_what_they_change(grown):
    repo, base, _, _ = grown
    before = {*repo.root.glob(".git/objects/pack/*.pack")}
    blob = git(repo.root, "rev-parse", f"{base}:d/00000")
    changes = [(Change(f"d/new{n}", "100644", blob),) for n in range(100)]
    commits = [NewCommit(f"{n}\n", each, parents=(base,)) for n, each in enumerate(changes)]
    build(repo, "branches", base, commits)
    (new,) = {*repo.root.glob(".git/objects/pack/*.pack")} - before
    assert new.stat().st_size < 400_000  # a hundred versions of 110 kB
    drop_private_refs(repo)


@pytest.mark.parametrize("is_killed", [False, True])
def test_until_a_ref_leads_to_them_no_repacking_drops_new_objects(plain, monkeypatch, is_killed):
    repo, blobs = plain
    keeps = repo.root / ".git/objects/pack"
    run, seen = Repo.run, []

    def watch(self, *args, **kwargs):
        if args[0] == "update-ref" and kwargs.get("input", b"").startswith(b"create"):
            seen.extend(keeps.glob("*.keep"))
            if is_killed:
                monkeypatch.setattr("pathlib.Path.unlink", lambda *_, **__: None)
                raise KeyboardInterrupt
        return run(self, *args, **kwargs)

    monkeypatch.setattr(Repo, "run", watch)
    files = [(Change(f"f{n}", "100644", blobs[0]),) for n in range(100)]
    try:
        build(repo, "kept", "", [NewCommit(f"{n}\n", each) for n, each in enumerate(files)])
    except KeyboardInterrupt:
        assert is_killed
    monkeypatch.undo()
    assert len(seen) == 1
    assert bool([*keeps.glob("*.keep")]) is is_killed
    (keeps / "pack-x.keep").write_text("somebody else's")
    drop_private_refs(repo)
    assert [each.name for each in keeps.glob("*.keep")] == ["pack-x.keep"]
    (keeps / "pack-x.keep").unlink()
