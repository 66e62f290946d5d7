"""How pages of the documentation are read and compared."""

from __future__ import annotations

import pytest

from tests.documents import Command, Comparison, File, NotExecuted, read_page, type_page

_PAGE = """\
Write this:

```{code-block} bash
:caption: dir/job.sh

echo one
```

```console
$ cat dir/job.sh
echo one
$ echo a \\
    b
a b
```

<!-- beforehand: echo something >> dir/job.sh -->
<!-- not executed: it takes a week -->
```console
$ sleep 604800
```

```bash
not typed
```
"""


def test_a_page_is_files_and_commands_in_their_order():
    assert list(read_page(_PAGE)) == [
        File("dir/job.sh", "echo one\n"),
        Command(10, "cat dir/job.sh", "echo one"),
        Command(12, "echo a \\\n    b", "a b"),
        Command(17, "echo something >> dir/job.sh", "..."),
        NotExecuted("it takes a week"),
    ]


def test_a_page_is_typed_into_one_shell(tmp_path):
    text = "```console\n$ cd dir; word=one\n$ pwd; echo $word\n/home/me/dir\none\n```\n"
    (tmp_path / "dir").mkdir()
    type_page(_PAGE, tmp_path, tmp_path)
    type_page(text, tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("one", "two"),
        ("", "something"),
        ("one\n...", "two\nthree"),
        ("in 0:05 s", "in five s"),
        ("submitted Slurm job 101, after job 101", "submitted Slurm job 7, after job 8"),
        ("at 1:02", "at 1:02 or later"),
    ],
)
def test_what_differs_is_seen(shown, printed):
    assert not Comparison("Slurm job 101").agrees(shown, printed)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("one\n...\nfour", "one\ntwo\nthree\nfour"),
        ("one\n...\ntwo", "one\ntwo"),
        ("a  b", "a      b"),
        ("from 2025-01-02 03:04:05 for 1:02", "from 2031-12-13 14:15:16 for 10:00:00"),
        ("on 2025-01-02, at noon", "on 2031-12-13, at noon"),
        ("job 101 is slurm-101.out", "job 7 is slurm-7.out"),
        ("[...]", "[anything]"),
    ],
)
def test_what_varies_is_accepted(shown, printed):
    assert Comparison("Slurm job 101").agrees(shown, printed)


def test_ids_of_a_page_stand_for_those_that_were_found():
    comparison = Comparison("Slurm job 101")
    assert comparison.agrees("Slurm job 101 is a8e4aa6", "Slurm job 7 is 0123abcd")
    assert comparison.typed("finish 101_2 1010 a8e4aa6") == "finish 7_2 1010 0123abcd"
    assert comparison.agrees("commit a8e4aa6f03 of 101", "commit 0123abcdef of 7")
    assert not comparison.agrees("commit a8e4aa6f03", "commit 9999abcdef")


@pytest.mark.parametrize("typed", ["echo one", "false"])
def test_a_page_that_is_wrong_fails(typed, tmp_path):
    with pytest.raises(AssertionError, match="line 2"):
        type_page(f"```console\n$ {typed}\n```\n", tmp_path, tmp_path)
