"""Figures from a table of results alone."""
