"""Configuration of the documentation: see ``tools/docs``."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "datalad-slurm"
author = "The datalad-slurm developers"
project_copyright = author
release = version_of("datalad-slurm")
version = release.partition("+")[0]

extensions = [
    "myst_parser",
    "sphinx_copybutton",
    "changelog_fragments",
    "datalad_commands",
]
exclude_patterns = ["_build", "_ext"]

# blocks without a language are no Python
highlight_language = "text"
# "--wrap" is an option, not a dash
smartquotes = False
nitpicky = True

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["console.css"]
html_title = f"datalad-slurm {version}"
html_theme_options = {
    "source_repository": "https://github.com/datalad/datalad-slurm/",
    "source_branch": "main",
    "source_directory": "docs/",
}

# only what is typed is copied, not the prompt and what is printed
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True
copybutton_line_continuation_character = "\\"
