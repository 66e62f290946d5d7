"""How a shell starts a module of this package, which need not be installed where that runs."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

__all__ = ["python_call"]

_PACKAGE_AT = Path(__file__).resolve().parents[2]


def python_call(module: str, *args: str) -> str:
    """Return a shell command that calls `main()` of a module with arguments.

    Parameters
    ----------
    module : str
        Its full name.
    args : str
        What comes first in its `sys.argv`, behind the name.
    """
    start = f"import sys; sys.path.insert(0, sys.argv.pop(1)); from {module} import main; main()"
    # isolated: what the user's command sets for its own Python must not matter here
    return shlex.join([sys.executable, "-I", "-S", "-c", start, str(_PACKAGE_AT), *args])
