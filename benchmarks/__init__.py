"""Measurements of runner against a baseline in the same run.  Standard library only; see README.md."""
