"""Configuration of Sphinx."""

import os
import sys
import tempfile
from pathlib import Path

# AiiDA makes its folder when it is imported, the tutorial a profile in it: not in the user's home.
os.environ.setdefault("AIIDA_PATH", tempfile.mkdtemp(prefix="aiida-mlal-docs-"))
(Path(os.environ["AIIDA_PATH"]) / ".aiida").mkdir(parents=True, exist_ok=True)
# The tutorial runs the commands of this environment.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

import aiida_mlal  # noqa: E402
from aiida_mlal.cli.profile import create_profile  # noqa: E402

create_profile("docs", default=True)  # which AiiDA's directives load

project = "aiida-mlal"
author = "The aiida-mlal developers"
copyright = f"2026, {author}"
version = release = aiida_mlal.__version__

extensions = [
    "myst_nb",
    "autoapi.extension",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx_design",
    "aiida.sphinxext",
    "structure",
]
exclude_patterns = ["_build", "_extensions", "**.ipynb_checkpoints"]
html_theme = "sphinx_book_theme"
html_title = f"aiida-mlal {version}"
html_theme_options = {"home_page_in_toc": True, "use_download_button": False}

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
copybutton_selector = "div:not(.output) > div.highlight pre"

nb_execution_mode = "force"
# Campaigns like those of these tutorials are run by tests: where both are run, once is enough.
nb_execution_excludepatterns = os.environ.get("MLAL_TUTORIALS_NOT_RUN", "").split()
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True

suppress_warnings = ["autoapi.python_import_resolution", "ref.python"]

autoapi_dirs = ["../aiida_mlal"]
autoapi_root = "reference/api"
autoapi_add_toctree_entry = False
autoapi_keep_files = False
autoapi_member_order = "groupwise"
autoapi_options = ["members", "show-module-summary"]
autoapi_python_class_content = "class"
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
