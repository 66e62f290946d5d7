"""Command line, Python and documentation have the same parameters and settings."""

from __future__ import annotations

import argparse
import inspect
import re
from importlib import import_module

import pytest
from datalad import api
from datalad.cli.parser import setup_parser_for_interface

from datalad_slurm import command_suite
from datalad_slurm.workflow.settings import Settings
from tests.conftest import ROOT

COMMANDS = {name: (module, cls) for module, cls, _, name in command_suite[1]}
#: those that work on a dataset, and are methods of it
OF_DATASETS = [name for name in COMMANDS if name != "slurm_archive"]
_LITERAL = re.compile(r"datalad\.slurm\.([a-z][\w-]*)")
_ROW = re.compile(r"^\| `datalad\.slurm\.([\w-]+)` \| ([^|]+?) \|", re.MULTILINE)


def options(name):
    """Return the actions of a command's own parser, by the parameter they set."""
    module, cls = COMMANDS[name]
    parser = argparse.ArgumentParser()
    setup_parser_for_interface(parser, getattr(import_module(module), cls))
    return {action.dest: action for action in parser._actions if action.dest != "help"}


class Asked(dict):
    """A configuration that notes which names are asked for."""

    def get(self, name, default=None):
        self[name] = default
        return default

    def get_from_source(self, source, name, default=None):
        return self.get(name, default)


def names_in_code():
    """Return the settings under ``datalad.slurm`` that the package reads or speaks of."""
    asked = Asked()
    Settings.read(asked)
    texts = (path.read_text() for path in (ROOT / "datalad_slurm").rglob("*.py"))
    spoken_of = {name for text in texts for name in _LITERAL.findall(text)}
    return spoken_of | {name for text in asked for name in _LITERAL.findall(text)}


def documented_settings():
    return dict(_ROW.findall((ROOT / "docs/reference/configuration.md").read_text()))


def test_the_commands_are_compared():
    of_datasets = {
        "slurm_checkpoint",
        "slurm_export",
        "slurm_finish",
        "slurm_report",
        "slurm_reschedule",
        "slurm_schedule",
    }
    assert set(OF_DATASETS) == of_datasets
    assert set(COMMANDS) == of_datasets | {"slurm_archive"}


@pytest.mark.parametrize("name", COMMANDS)
def test_command_line_and_python_have_the_same_parameters_and_defaults(name):
    parameters = inspect.signature(getattr(api, name)).parameters
    on_command_line = {
        dest: inspect.Parameter.empty
        if action.option_strings and action.required
        else action.default
        for dest, action in options(name).items()
    }
    assert {key: value.default for key, value in parameters.items()} == on_command_line


@pytest.mark.parametrize("name", OF_DATASETS)
def test_a_method_of_the_dataset_has_the_parameters_of_the_function(name):
    function, method = getattr(api, name), getattr(api.Dataset, name)
    assert inspect.signature(function) == inspect.signature(method)


@pytest.mark.parametrize("name", COMMANDS)
def test_only_the_first_parameter_may_be_given_without_its_name(name):
    first, *others = inspect.signature(getattr(api, name)).parameters.values()
    assert first.kind is first.POSITIONAL_OR_KEYWORD
    # datalad takes no parameter for required that can only be given with its name
    optional = [parameter for parameter in others if parameter.default is not parameter.empty]
    assert {parameter.kind for parameter in optional} == {first.KEYWORD_ONLY}
    assert len(others) - len(optional) == (name in ("slurm_archive", "slurm_export"))


def test_every_setting_in_the_code_is_documented_and_no_other():
    assert set(documented_settings()) == names_in_code()


def test_the_documented_defaults_are_those_of_the_code():
    defaults = {
        name.replace("_", "-"): default for name, default in Settings._field_defaults.items()
    }
    documented = documented_settings()
    assert len(documented) > 5
    for name, text in documented.items():
        default = defaults[name]
        assert text == (f"{default:g}" if isinstance(default, float) else str(default).lower())
