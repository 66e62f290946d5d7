"""Entries in blocks: each version can be made of the last one, and of the one that was marked."""

from __future__ import annotations

from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from datalad_slurm.dataset import entry_blocks
from datalad_slurm.dataset.entry_blocks import EntryBlocks

KEYS = st.integers(0, 40).map(lambda number: b"%02d" % number)
#: a key, and what it gets; nothing when it is taken away
CHANGES = st.tuples(KEYS, st.sampled_from([b"", b"a", b"bb"]))
#: changes before a version is written, and whether that is marked
VERSIONS = st.lists(st.tuples(st.lists(CHANGES, max_size=12), st.booleans()), max_size=12)


def patched(base: bytes, instructions: bytes) -> bytes:
    """Return what a delta makes of a base (gitformat-pack(5), "Deltified representation")."""
    made, at = b"", 0
    while at < len(instructions):
        command, at = instructions[at], at + 1
        if command < 0x80:
            made, at = made + instructions[at : at + command], at + command
            continue
        operands = [0] * 7
        for bit in range(7):
            if command >> bit & 1:
                operands[bit], at = instructions[at], at + 1
        offset = int.from_bytes(bytes(operands[:4]), "little")
        size = int.from_bytes(bytes(operands[4:]), "little") or 0x10000
        assert offset + size <= len(base)
        made += base[offset : offset + size]
    return made


@given(first=st.sets(KEYS), versions=VERSIONS, largest=st.sampled_from([2, 4, 128]))
def test_each_version_is_made_of_those_before(first, versions, largest):
    with patch.object(entry_blocks, "_LARGEST_BLOCK", largest):
        wanted = {key: b"<%s>" % key for key in first}
        last = mark = b"".join(wanted[key] for key in sorted(wanted))
        blocks = EntryBlocks(sorted(wanted), [wanted[key] for key in sorted(wanted)], last)
        for changes, is_mark in versions:
            for key, content in changes:
                if content:
                    wanted[key] = b"<%s %s>" % (key, content)
                    blocks.set(key, wanted[key])
                else:
                    wanted.pop(key, None)
                    blocks.remove(key)
                assert blocks.find(key) == wanted.get(key, b"")
            other = blocks.copy()
            blocks.set(b"99", b"not in the copy")
            blocks = other
            assert b"".join(blocks.written_last()) == last
            pieces = blocks.pieces()
            content = b"".join(wanted[key] for key in sorted(wanted))
            assert b"".join(pieces) == content
            assert blocks.is_empty == (not wanted)
            assert patched(last, b"".join(blocks.since_last())) == content
            assert patched(mark, b"".join(blocks.since_mark())) == content
            blocks.note_written(pieces, is_mark=is_mark)
            last, mark = content, content if is_mark else mark
