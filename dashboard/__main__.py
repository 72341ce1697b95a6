"""Writes the dashboard into the package: `make dashboard`."""

from dashboard import FILE, made

FILE.write_text(made())
