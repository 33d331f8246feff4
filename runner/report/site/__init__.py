"""The report as a static site: nouns to HTML, SVG and data files.  ``assets/`` is what a browser gets as it is."""
