"""How Sphinx builds these pages: ``sphinx-build -W -n -b html docs DIR``."""

project = "runner"
author = "the authors of runner"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["gitops/workflows/*"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
suppress_warnings = [
    "myst.xref_missing",  # links that leave the pages, to files of the repository: a test follows every one of them
]
html_theme = "furo"
html_title = "runner"
html_static_path: list[str] = []
html_show_copyright = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "tango"
pygments_dark_style = "monokai"
