"""Files of ours that are whole whenever somebody looks."""

from __future__ import annotations

from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, text: str, writer: str = "") -> None:
    """Write a file that is whole or, should this be cut short, as it was before.

    Parameters
    ----------
    path : Path
        The file, in a directory that exists.
    text : str
        What it is to hold.
    writer : str
        Where several may write it at once: what tells this one from the others.

    Raises
    ------
    OSError
        When it cannot be written.
    """
    part = path.with_name(f"{writer or path.stem}.part")
    part.write_text(text)
    part.replace(path)  # within a directory this is atomic
