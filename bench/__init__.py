"""Benchmarks of compressed keyword spotters: data, training, measures, tables, figures, command line."""
