"""Jobs in containers that are registered with datalad-container."""

from __future__ import annotations

import os
import re
import shlex

from datalad_slurm.dataset.paths import inside
from datalad_slurm.jobs.braces import literal
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.workflow.context import Context
from datalad_slurm.workflow.request import Request

__all__ = ["image_of", "in_container", "with_image"]

#: ``{img}``, also as a quoted word, but not where braces are doubled to stand for themselves
_PLACEHOLDER = re.compile(r"'\{img\}'|(?<!\{)\{img\}(?!\})")


def in_container(context: Context, request: Request, name: str) -> Request:
    """Return a request in which the image of a container is an extra input.

    ``{img}`` in the command becomes the path of the image, relative to the
    directory the command runs in, so that the record can be run again without
    datalad-container.

    Parameters
    ----------
    context : Context
        The dataset.
    request : Request
        What a user wants to have run.
    name : str
        Name of the container as `datalad containers-list` shows it, or the
        path of its image.

    Raises
    ------
    InvalidRequestError
        When datalad-container is not installed, knows no such container, or
        the image is outside the dataset.
    """
    return with_image(request, image_of(context, request, name), name)


def image_of(context: Context, request: Request, name: str) -> str:
    """Return the path of a container's image, relative to the directory a command runs in.

    Raises
    ------
    InvalidRequestError
        As for `in_container`.
    """
    return os.path.relpath(_image(context, name), request.cwd)


def with_image(request: Request, image: str, name: str) -> Request:
    """Return a request in which an image is an extra input, and filled in."""
    typed = literal(shlex.quote(image))
    return request._replace(
        cmd=_PLACEHOLDER.sub(lambda _: typed, request.cmd),
        extra_inputs=(*request.extra_inputs, image),
        extra={**request.extra, "container": name},
    )


def _image(context: Context, name: str) -> str:
    try:
        from datalad_container.find_container import find_container_
    except ImportError as exc:
        raise InvalidRequestError(
            "--container-name needs datalad-container, which is not installed; `pip install "
            "datalad-container`"
        ) from exc
    try:
        found = [res for res in find_container_(context.dataset, name) if "action" in res]
    except ValueError as exc:
        raise InvalidRequestError(f"there is no container '{name}' in the dataset: {exc}") from exc
    image = next((str(res["path"]) for res in found if res["action"] == "containers"), "")
    if not image or inside(context.repo, image) is None:
        raise InvalidRequestError(f"the image of container '{name}' is not in the dataset")
    return image
