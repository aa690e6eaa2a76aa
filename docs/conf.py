"""Settings of the documentation's build: `make docs`."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]
for name in ("MODEL_VERSION", "MF_ALPHA", "S3_BUCKET"):  # defaults are those of an empty environment
    os.environ.pop(name, None)

from recsys import __version__  # noqa: E402

project = "recsys"
highlight_language = "none"  # most blocks are commands
smartquotes = False  # --set stays --set
release = version = __version__
copyright = "The recsys authors, Apache-2.0"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_click", "sphinx_copybutton", "reference"]
exclude_patterns = ["_ext", "_build"]
templates_path: list[str] = []

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # pages made from the code begin below the page's own heading

html_theme = "furo"
html_title = "recsys"
html_static_path = ["_static"]
html_css_files = ["recsys.css"]
html_show_sphinx = False
html_copy_source = False
copybutton_prompt_text = "$ "

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # types of other libraries have no page here
