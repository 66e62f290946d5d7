"""Directive ``datalad-command``: the reference of a command, from its parameters."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from datalad.cli.interface import alter_interface_docs_for_cmdline
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from datalad_slurm import command_suite

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_CODE = re.compile(r"(`[^`]*`)")
_MARKDOWN = re.compile(r"([\\*_\[\]<>{}#|~])")


def render(name: str) -> dict[str, str]:
    """Return the reference of a command as sections in MyST Markdown, by their titles.

    What comes before the first section has no title.

    Parameters
    ----------
    name : str
        As on the command line, such as ``slurm-finish``.
    """
    module, class_name, _, function = next(spec for spec in command_suite[1] if spec[2] == name)
    interface = getattr(importlib.import_module(module), class_name)
    signature = inspect.signature(inspect.unwrap(interface.__call__))
    # datalad adds parameters that all commands have
    own = {key: each for key, each in interface._params_.items() if key in signature.parameters}
    return {
        "": _prose(interface.__doc__),
        "Command line": "\n\n".join(_options(name, own)),
        "Examples": "\n\n".join(_examples(interface._examples_)),
        "Python": f"```python\ndatalad.api.{function}{_without_types(signature)}\n```",
    }


def _prose(text: str) -> str:
    """Return the text of a docstring as Markdown: only its backticks mean something."""
    pieces = _CODE.split(alter_interface_docs_for_cmdline(text))
    return "".join(
        piece if piece.startswith("`") else _MARKDOWN.sub(r"\\\1", piece) for piece in pieces
    )


def _options(name: str, parameters: Mapping[str, Any]) -> Iterator[str]:
    yield f"```{{program}} datalad {name}\n```"
    for python_name, parameter in parameters.items():
        arguments = parameter.cmd_args or (python_name,)
        metavar = parameter.cmd_kwargs.get("metavar")
        if not arguments[0].startswith("-"):
            spelled = metavar or python_name.upper()
        elif metavar:
            spelled = ", ".join(f"{argument} {metavar}" for argument in arguments)
        else:
            spelled = ", ".join(arguments)
        yield f"````{{option}} {spelled}\n{_prose(parameter._doc)}\n````"


def _examples(examples: list[dict[str, str]]) -> Iterator[str]:
    for example in examples:
        yield _prose(example["text"]) + ":"
        yield f"```bash\n{inspect.cleandoc(example['code_cmd'])}\n```"
        yield f"```python\n{inspect.cleandoc(example['code_py'])}\n```"


def _without_types(signature: inspect.Signature) -> str:
    """Return the parameters of a function, one a line."""
    bare = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
    ]
    shown = str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))
    return "(\n    " + shown[1:-1].replace(", ", ",\n    ") + ",\n)"


class DataladCommand(SphinxDirective):
    """Show all that a command's own class says of it."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return what is shown in the directive's place."""
        shown: list[nodes.Node] = []
        for title, text in render(self.arguments[0]).items():
            parsed = self.parse_text_to_nodes(text)
            if title:
                heading = nodes.title(text=title)
                shown.append(nodes.section("", heading, *parsed, ids=[nodes.make_id(title)]))
            else:
                shown += parsed
        return shown


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("datalad-command", DataladCommand)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
