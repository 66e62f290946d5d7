"""Commits from explicit paths: built apart, checked, published by compare-and-swap."""

from __future__ import annotations

import dataclasses
import os
import subprocess

import pytest

from datalad_slurm.dataset import commit_checks, diff
from datalad_slurm.dataset import commits as commits_module
from datalad_slurm.dataset.commits import NewCommit, build, drop_private_refs
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.index import IndexUpdate, catch_up_index, drop_own_lock
from datalad_slurm.dataset.publish import Step, contains, messages_since, read_head
from datalad_slurm.dataset.publish import publish as publish_steps
from datalad_slurm.dataset.stage import Change, stage
from datalad_slurm.dataset.tree import TreeReader
from datalad_slurm.jobs.errors import DatasetError, PublicationError


@pytest.fixture
def repo(box) -> Repo:
    return Repo(box.path)


def staged(box, repo, **files: str) -> tuple[Change, ...]:
    for name, content in files.items():
        (box.path / name).parent.mkdir(parents=True, exist_ok=True)
        (box.path / name).write_text(content)
    return tuple(stage(repo, list(files)).changes.values())


def entries(changes):
    return [(change.path, change.mode, change.blob) for change in changes]


def step(repo, head, ids, commits):
    changes = tuple(change for commit in commits for change in commit.changes)
    return Step(repo, head, ids[-1], changes)


def publish(repo, commits):
    head = read_head(repo)
    ids = build(repo, "x", head.commit, commits)
    assert publish_steps([step(repo, head, ids, commits)], "test")
    drop_private_refs(repo)
    return ids


def test_each_commit_holds_its_paths_and_the_tree_is_clean(box, repo):
    names = {"a/b": "1", "new\nline": "2", 'q"uo\\te': "3", os.fsdecode(b"\xfe"): "4", " lead": "5"}
    one = staged(box, repo, **names)
    two = staged(box, repo, **{"a/c": "6"})
    ids = publish(repo, [NewCommit("one\n", one), NewCommit("two ü\n", two)])
    assert box.subjects(2) == ["two ü", "one"]
    with TreeReader(repo, ids[0]) as tree:
        assert set(tree.files_claimed("")) >= set(names)
        assert tree.lookup("a/c") is None
    assert box.status() == ""
    assert box.git("for-each-ref", "refs/datalad-slurm/") == ""


def test_an_edit_in_the_second_of_its_staging_stays_in_sight(box, repo):
    """Git finds such an edit by the time of its index, when size and time of the file agree."""
    edited = box.path / "edited.txt"
    box.git("config", "core.trustctime", "false")
    edited.write_text("one\n")
    then = (1_000_000_000, 1_000_000_000)
    os.utime(edited, then)
    box.git("-c", "annex.largefiles=nothing", "add", "edited.txt")
    box.git("commit", "-qm", "user's")
    edited.write_text("two\n")
    for path in (edited, box.path / ".git/index"):
        os.utime(path, then)
    publish(repo, [NewCommit("one\n", staged(box, repo, a="1"))])
    assert box.status() == " M edited.txt"


def test_a_file_may_become_a_directory_and_the_reverse(box, repo):
    publish(repo, [NewCommit("first\n", staged(box, repo, **{"x": "1", "y/z": "2"}))])
    for name in ("x", "y/z"):
        (box.path / name).unlink()
    (box.path / "y").rmdir()
    changes = staged(box, repo, **{"x/inner": "3", "y": "4"})
    ids = publish(repo, [NewCommit("second\n", changes)])
    with TreeReader(repo, ids[0]) as tree:
        assert {path for path in tree.files_claimed("") if path[0] in "xy"} == {"x/inner", "y"}
    assert box.status() == ""


def test_deletions_are_committed_and_leave_the_index(box, repo):
    publish(repo, [NewCommit("first\n", staged(box, repo, a="1", b="2"))])
    (box.path / "a").unlink()
    publish(repo, [NewCommit("second\n", (Change("a"),))])
    assert box.files_in_last_commit() == {"a"}
    assert box.status() == ""


def test_the_first_commit_of_a_repository_can_be_built(tmp_path):
    from tests.conftest import Box

    box = Box(tmp_path)
    box.git("init", "-q")
    repo = Repo(tmp_path)
    publish(repo, [NewCommit("root\n", staged(box, repo, a="1"))])
    assert box.subjects() == ["root"]
    assert box.status() == ""


def test_a_commit_that_lacks_a_path_is_never_published(box, repo, monkeypatch):
    changes = staged(box, repo, a="1", b="2")
    grown_from = commits_module.Roots.grown_from

    def forgetful(self, parents, planned):
        return grown_from(self, parents, [*planned][:-1])

    monkeypatch.setattr(commits_module.Roots, "grown_from", forgetful)
    before = box.git("rev-parse", "HEAD")
    with pytest.raises(DatasetError, match="does not hold what was staged"):
        build(repo, "x", before, [NewCommit("m\n", changes)])
    assert box.git("rev-parse", "HEAD") == before


def test_a_commit_that_holds_more_than_its_paths_is_never_published(box, repo, monkeypatch):
    changes = staged(box, repo, a="1", b="2")
    grown_from = commits_module.Roots.grown_from

    def greedy(self, parents, planned):
        return grown_from(self, parents, entries(changes))

    monkeypatch.setattr(commits_module.Roots, "grown_from", greedy)
    with pytest.raises(DatasetError, match="does not hold what was staged"):
        build(repo, "x", box.git("rev-parse", "HEAD"), [NewCommit("m\n", changes[:1])])


@pytest.mark.parametrize("kind", ["no object", "a tree"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_parent_that_is_no_commit_is_refused(box, repo, kind, place):
    head = box.git("rev-parse", "HEAD")
    parents = [head, head]
    parents[place] = "1" * 40 if kind == "no object" else box.git("rev-parse", "HEAD^{tree}")
    with pytest.raises(DatasetError, match=parents[place]):
        build(repo, "x", head, [NewCommit("m\n", staged(box, repo, a="1"), tuple(parents))])
    assert box.git("for-each-ref", "refs/datalad-slurm/") == ""


@pytest.mark.parametrize("lacking", [0, 3, 6])
@pytest.mark.parametrize("most_compared", [2**28, 1])
def test_of_many_commits_each_is_checked_whichever_process_does_it(
    box, repo, monkeypatch, lacking, most_compared
):
    monkeypatch.setattr(diff, "_FEWEST", 2)
    monkeypatch.setattr(commit_checks, "_MOST_COMPARED", most_compared)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    commits = [NewCommit(f"{n}\n", staged(box, repo, **{f"f{n}": "x"})) for n in range(7)]
    assert len(publish(repo, commits)) == 7
    commits = [NewCommit(f"{n}\n", staged(box, repo, **{f"g{n}": "y"})) for n in range(7)]
    wanted = entries(commits[lacking].changes)
    grown_from = commits_module.Roots.grown_from

    def forgetful(self, parents, planned):
        planned = list(planned)
        return grown_from(self, parents, [] if planned == wanted else planned)

    monkeypatch.setattr(commits_module.Roots, "grown_from", forgetful)
    with pytest.raises(DatasetError, match=f"'g{lacking}' does not hold what was staged"):
        build(repo, "y", box.git("rev-parse", "HEAD"), commits)


def test_a_path_that_has_not_changed_is_no_contradiction(box, repo):
    changes = staged(box, repo, a="1")
    publish(repo, [NewCommit("first\n", changes)])
    publish(repo, [NewCommit("second\n", (*changes, *staged(box, repo, b="2")))])
    assert box.files_in_last_commit() == {"b"}


def test_a_branch_that_has_moved_is_not_overwritten(box, repo):
    head = read_head(repo)
    commits = [NewCommit("m\n", staged(box, repo, a="1"))]
    ids = build(repo, "x", head.commit, commits)
    box.git("commit", "-q", "--allow-empty", "-m", "meanwhile")
    assert not publish_steps([step(repo, head, ids, commits)], "test")
    assert box.subjects() == ["meanwhile"]
    assert box.status() == "?? a"
    assert not contains(repo, head.branch, ids[0])
    assert contains(repo, head.branch, head.commit)
    assert not contains(repo, "refs/heads/none", head.commit)
    assert [text.strip() for _, text in messages_since(repo, head.commit, head.branch)] == [
        "meanwhile"
    ]


def test_all_branches_move_or_none(box, repo, tmp_path):
    from tests.conftest import Box

    other = Box(tmp_path / "other")
    other.path.mkdir()
    other.git("init", "-q")
    steps = []
    for each in (Box(other.path), box):
        commits = [NewCommit("m\n", staged(each, Repo(each.path), a="1"))]
        head = read_head(Repo(each.path))
        ids = build(Repo(each.path), "x", head.commit, commits)
        steps.append(step(Repo(each.path), head, ids, commits))
    moved = box.git("commit-tree", "-p", "HEAD", "-m", "meanwhile", "HEAD^{tree}")
    stale = dataclasses.replace(steps[1], head=dataclasses.replace(steps[1].head, commit=moved))
    assert not publish_steps([steps[0], stale], "test")
    assert read_head(Repo(other.path)).commit == ""
    assert not (other.path / ".git/index.lock").exists()
    assert publish_steps(steps, "test")
    assert other.subjects() == box.subjects() == ["m"]
    assert other.status() == box.status() == ""


def test_a_move_that_fails_half_way_is_undone(box, repo, tmp_path, monkeypatch):
    from datalad_slurm.dataset import publish as publish_module
    from tests.conftest import Box

    other = Box(tmp_path / "other")
    other.path.mkdir()
    other.git("init", "-q")
    steps = []
    for each in (other, box):
        commits = [NewCommit("m\n", staged(each, Repo(each.path), a="1"))]
        head = read_head(Repo(each.path))
        ids = build(Repo(each.path), "x", head.commit, commits)
        steps.append(step(Repo(each.path), head, ids, commits))
    move = publish_module._move

    def failing(one, reason):
        if one.repo.root == box.path:
            raise DatasetError("disk full")
        return move(one, reason)

    monkeypatch.setattr(publish_module, "_move", failing)
    with pytest.raises(DatasetError, match="disk full"):
        publish_steps(steps, "test")
    assert read_head(Repo(other.path)).commit == ""
    assert other.status() == box.status() == "?? a"
    monkeypatch.undo()
    assert publish_steps(steps, "test")


def test_nobody_else_commits_between_branch_and_index(box, repo, monkeypatch):
    from datalad_slurm.dataset import publish as publish_module

    move, said = publish_module._move, []

    def move_and_be_interfered_with(one, reason):
        done = move(one, reason)
        tried = subprocess.run(
            ["git", "commit", "-aqm", "hasty"],
            cwd=box.path,
            capture_output=True,
            text=True,
            check=False,
        )
        said.append(tried.stderr)
        return done

    monkeypatch.setattr(publish_module, "_move", move_and_be_interfered_with)
    publish(repo, [NewCommit("m\n", staged(box, repo, a="1"))])
    assert "index.lock" in said[0]
    assert box.subjects() == ["m"]
    assert box.status() == ""


def test_a_held_index_is_waited_for_and_then_named(box, repo, monkeypatch):
    from datalad_slurm.dataset import index

    monkeypatch.setattr(index, "_LOCK_PATIENCE", 0.5)
    lock = box.path / ".git/index.lock"
    lock.touch()
    with pytest.raises(PublicationError, match=r"index\.lock is there"), IndexUpdate(repo):
        pass
    drop_own_lock(repo)
    assert lock.exists()  # it is somebody else's


@pytest.mark.parametrize("target", ["../elsewhere/index", "absolute"])
def test_an_index_that_is_a_link_is_that_to_which_it_leads(box, repo, target):
    index, elsewhere = box.path / ".git/index", box.path.parent / "elsewhere" / "index"
    elsewhere.parent.mkdir()
    index.rename(elsewhere)
    index.symlink_to(elsewhere if target == "absolute" else f"../{target}")
    publish(repo, [NewCommit("one\n", staged(box, repo, a="1"))])
    assert box.status() == ""


@pytest.mark.parametrize("version", ["2", "4"])
def test_the_index_knows_the_times_of_what_is_committed(box, repo, version):
    box.git("update-index", "--index-version", version)
    publish(repo, [NewCommit("one\n", staged(box, repo, **{"a": "1", "b c": "2"}))])
    assert box.git("diff-files", "--name-only", "--", "a", "b c") == ""
    assert box.status() == ""


@pytest.mark.parametrize("moment", [10**18, 10**18 + 1])
def test_what_is_written_after_staging_and_gets_its_old_time_stays_in_sight(box, repo, moment):
    box.git("config", "annex.largefiles", "nothing")
    file = box.path / "a"
    file.write_text("as it was staged")
    os.utime(file, ns=(moment, moment))
    done = stage(repo, ["a"])
    with file.open("r+") as writer:
        writer.write("IN ITS PLACE IS")
    os.utime(file, ns=(moment, moment))
    publish(repo, [NewCommit("one\n", tuple(done.changes.values()))])
    assert box.git("show", "HEAD:a") == "as it was staged"
    assert box.status() != ""


def test_working_trees_of_one_repository_have_private_refs_of_their_own(box, repo):
    box.git("worktree", "add", "-q", "../other")
    other = Repo(box.path.parent / "other")
    ids = build(other, "x", other.head(), [NewCommit("m\n", ())])
    drop_private_refs(repo)
    assert ids[0] in box.git("for-each-ref", "refs/datalad-slurm/")
    drop_private_refs(other)
    assert box.git("for-each-ref", "refs/datalad-slurm/") == ""


def test_a_lock_that_somebody_takes_after_the_index_is_in_place_stays(repo):
    lock = repo.git_dir / "index.lock"
    with IndexUpdate(repo) as update:
        update.prepare([])
        update.install()
        lock.touch()
    assert lock.exists()


def test_the_lock_of_a_finisher_that_died_is_known_and_dropped(box, repo):
    IndexUpdate(repo).__enter__()
    assert (box.path / ".git/index.lock").exists()
    drop_own_lock(dataclasses.replace(repo, guest="guest-of-another-dataset"))
    assert (box.path / ".git/index.lock").exists()
    drop_own_lock(repo)
    assert not (box.path / ".git/index.lock").exists()


def test_an_index_catches_up_but_what_the_user_staged_since_stays(box, repo):
    publish(repo, [NewCommit("first\n", staged(box, repo, d="1"))])
    head = read_head(repo)
    (box.path / "d").unlink()
    changes = (*staged(box, repo, **{"a": "1", "b": "2", "c/x": "3"}), Change("d"))
    (tip,) = build(repo, "x", head.commit, [NewCommit("m\n", changes)])
    box.git("update-ref", head.branch, tip)  # and dies
    (box.path / "b").unlink()
    (box.path / "b").write_text("the user's")
    box.git("-c", "annex.largefiles=nothing", "add", "b")
    catch_up_index(repo, head.commit, tip)
    assert box.git("diff", "--cached", "--name-only").split() == ["b"]
    assert box.git("show", ":b") == "the user's"


def test_an_index_catches_up_where_scheduling_has_unlocked_a_file(box, repo):
    old = {"changed": "1", "taken away": "2", "staged since": "3"}
    publish(repo, [NewCommit("first\n", staged(box, repo, **old))])
    head = read_head(repo)
    box.git("annex", "unlock", "--quiet", *old)
    new = {"changed": "4", "staged since": "5"}
    for name in old:
        (box.path / name).unlink()
    changes = (*staged(box, repo, **new), Change("taken away"))
    (tip,) = build(repo, "x", head.commit, [NewCommit("m\n", changes)])
    box.git("update-ref", head.branch, tip)  # and dies
    (box.path / "staged since").unlink()
    (box.path / "staged since").write_text("6")
    box.git("annex", "add", "--quiet", "staged since")
    catch_up_index(repo, head.commit, tip)
    assert box.git("diff", "--cached", "--name-only").splitlines() == ["staged since"]


def test_git_needs_not_read_the_files_again_after_publication(box, repo):
    (box.path / ".gitattributes").write_text("* annex.largefiles=nothing\n")
    publish(repo, [NewCommit("m\n", staged(box, repo, a="four"))])
    assert not (box.path / "a").is_symlink()
    assert "size: 4" in box.git("ls-files", "--debug", "a")


def test_a_file_that_has_changed_since_it_was_staged_is_not_staged_again(box, repo):
    (box.path / ".gitattributes").write_text("* annex.largefiles=nothing\n")
    changes = staged(box, repo, a="as it was")
    (box.path / "a").write_text("as the user has it")
    with IndexUpdate(repo) as update:
        update.prepare(changes)
        update.install()
    assert box.git("show", ":a") == "as it was"


def test_a_deletion_alone_leaves_the_index_of_a_sha256_repository(tmp_path):
    from tests.conftest import Box

    box = Box(tmp_path)
    box.git("init", "-q", "--object-format=sha256")
    repo = Repo(tmp_path)
    publish(repo, [NewCommit("root\n", staged(box, repo, a="1"))])
    (tmp_path / "a").unlink()
    publish(repo, [NewCommit("gone\n", (Change("a"),))])
    assert box.status() == ""
