"""Which jobs stand, when a job is run again, for those that its command is told to wait for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from datalad_slurm.jobs.dependencies import DEPENDS_ON, Relation, dependency_ids, read_relations
from datalad_slurm.jobs.errors import QueryFailedError
from datalad_slurm.jobs.sbatch_options import split_words
from datalad_slurm.slurm import squeue
from datalad_slurm.slurm.depend import typed_dependency
from datalad_slurm.workflow.context import Context, lgr
from datalad_slurm.workflow.relations import latest_jobs
from datalad_slurm.workflow.replay import Run

__all__ = ["Submissions"]


class Submissions:
    """The jobs that one call has submitted so far, by what they repeat."""

    def __init__(self) -> None:
        self._by_commit: dict[str, Sequence[int]] = {}
        self._by_id: dict[int, Sequence[int]] = {}

    def add(self, run: Run, job_ids: Sequence[int]) -> None:
        """Note the jobs that a recorded one was submitted as."""
        self._by_commit |= dict.fromkeys(run.request.chain, job_ids)
        attempts = run.record.slurm.get("attempts") or ()
        ids = [each.job_id for each in read_relations(list(attempts))]
        self._by_id |= dict.fromkeys((run.record.slurm_job_id, *ids), job_ids)

    def stand_ins(self, context: Context, run: Run) -> dict[int, Sequence[int]]:
        """Return, for the ids in the dependency of a command, those to take now.

        None, for a job that is over: Slurm gives its id to another one some day.
        """
        relations = {
            typed: relation
            for relation in read_relations(run.record.slurm.get(DEPENDS_ON))
            for typed in relation.typed
        }
        found: dict[int, Sequence[int]] = {}
        others: list[int] = []
        for job_id in dict.fromkeys((*relations, *_ids_in_command(context, run))):
            relation = relations.get(job_id)
            new = self._repeats(context, relation) if relation else self._by_id.get(job_id)
            if new is not None:
                found[job_id] = new
            elif relation and relation.commit:
                found[job_id] = ()
            else:
                others.append(job_id)
        found |= dict.fromkeys(_over(context, run, others), ())
        for job_id in (old for old, new in found.items() if not new):
            lgr.warning(
                "the job of commit %s does not wait for job %s any more, which is over",
                run.found.commit.id[:10], job_id,
            )  # fmt: skip
        return found

    def _repeats(self, context: Context, relation: Relation) -> Sequence[int] | None:
        """Return what repeats a job: submitted by this call, or by an earlier one, and open."""
        if relation.commit in self._by_commit or not relation.commit:
            return self._by_commit.get(relation.commit)
        repeats = [job for job in context.tracker.open_jobs() if relation.commit in job.chain]
        return [each.job_id for each in latest_jobs(repeats[-1])] if repeats else None


def _ids_in_command(context: Context, run: Run) -> Iterator[int]:
    words = split_words(run.record.cmd)
    directory = os.path.join(context.repo.root, run.claim.pwd)  # noqa: PTH118 - a text is wanted
    for position, word in enumerate(words):
        if word.rpartition("/")[2] == "sbatch":
            yield from dependency_ids(typed_dependency(words[position + 1 :], directory))


def _over(context: Context, run: Run, job_ids: Iterable[int]) -> list[int]:
    """Return those of some jobs that Slurm has forgotten, or whose ids it has given to others."""
    asked = list(job_ids)
    if not asked:
        return []
    try:
        rows = squeue.show(asked, timeout=context.settings.query_timeout)
    except QueryFailedError:
        return []  # then nothing will be submitted, either
    before = _submitted(run.record.slurm)
    known = {row.task.job_id for row in rows if row.submitted and row.submitted <= before}
    return [job_id for job_id in asked if job_id not in known]


def _submitted(facts: Mapping[str, object]) -> float:
    """Return when a job was submitted that is on record; 0 where that is not told."""
    try:
        return datetime.fromisoformat(str(facts.get("submit"))).timestamp()
    except ValueError:
        return 0.0
