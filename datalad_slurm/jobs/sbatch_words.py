"""Which options sbatch has, and how it reads the words that they are in."""

from __future__ import annotations

__all__ = ["named_options", "takes_rest"]

#: Options of sbatch(1) that take no value, or only one behind an equals sign.
_WITHOUT_VALUE = frozenset(
    [
        "--contiguous",
        "--exclusive",
        "--get-user-env",
        "--help",
        "--hold",
        "--ignore-pbs",
        "--nice",
        "--no-kill",
        "--no-requeue",
        "--oom-kill-step",
        "--overcommit",
        "--oversubscribe",
        "--parsable",
        "--propagate",
        "--quiet",
        "--reboot",
        "--requeue",
        "--share",
        "--spread-job",
        "--stepmgr",
        "--test-only",
        "--usage",
        "--use-min-nodes",
        "--verbose",
        "--version",
        "--wait",
    ]
)
_SHORT_WITHOUT_VALUE = frozenset("hHkOQsvVW")
#: Options of sbatch(1), 22.05 to 24.11, whose value may be the next word.
_WITH_VALUE = frozenset(
    """
    --account --acctg-freq --array --batch --bb --bbf --begin --chdir --cluster --cluster-constraint
    --clusters --comment --constraint --container --container-id --core-spec --cores-per-socket
    --cpu-freq --cpus-per-gpu --cpus-per-task --deadline --delay-boot --dependency --distribution
    --error --exclude --export --export-file --extra --extra-node-info --gid --gpu-bind --gpu-freq
    --gpus --gpus-per-node --gpus-per-socket --gpus-per-task --gres --gres-flags --hint --input
    --job-name --kill-on-invalid-dep --licenses --mail-type --mail-user --mcs-label --mem --mem-bind
    --mem-per-cpu --mem-per-gpu --mincpus --network --nodefile --nodelist --nodes --ntasks
    --ntasks-per-core --ntasks-per-gpu --ntasks-per-node --ntasks-per-socket --open-mode --output
    --partition --power --prefer --priority --profile --qos --reservation --resv-ports --segment
    --signal --sockets-per-node --switches --thread-spec --threads-per-core --time --time-min --tmp
    --tres-bind --tres-per-task --uid --wait-all-nodes --wckey --wrap
    """.split()  # noqa: SIM905 - a hundred lines would not read better
)
_SHORT_WITH_VALUE = frozenset("aAbBcCdDeFGiJLmMnNopqStwx")


def named_options(word: str) -> list[tuple[str, bool]] | None:
    """Return the full names of the options in a word, and whether the next word is their value."""
    if not word.startswith("--"):
        return _short_named(word[1:])
    start, equals, _ = word.partition("=")
    known = _WITH_VALUE | _WITHOUT_VALUE
    found = {start} if start in known else {name for name in known if name.startswith(start)}
    if not found:
        return [(start, False)] if equals else None  # a newer option
    if len(found) > 1:
        return None
    name = found.pop()
    return [(name, name in _WITH_VALUE and not equals)]


def _short_named(letters: str) -> list[tuple[str, bool]] | None:
    found: list[tuple[str, bool]] = []
    for position, letter in enumerate(letters):
        if letter in _SHORT_WITH_VALUE:
            return [*found, (f"-{letter}", position + 1 == len(letters))]
        if letter not in _SHORT_WITHOUT_VALUE:
            return None
        found.append((f"-{letter}", False))
    return found


def takes_rest(start: str) -> bool:
    """Return whether what follows the start of an option, in the same word, is its value."""
    return (start.startswith("--") and "=" in start) or start[1:2] in _SHORT_WITH_VALUE
