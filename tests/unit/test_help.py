"""What `--help` says reads well in a terminal."""

from __future__ import annotations

import inspect
from importlib import import_module

import pytest

from tests.unit.test_parameters import COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_terminal_of_80_columns_and_has_examples(name):
    module, class_name = COMMANDS[name]
    command = getattr(import_module(module), class_name)
    assert max(map(len, inspect.cleandoc(command.__doc__).splitlines())) <= 80
    assert command._examples_
    for example in command._examples_:
        assert example["code_cmd"].startswith(f"datalad {name.replace('_', '-')}")
        assert example["code_py"].startswith(name)
