"""Compressors: ways of making a keyword spotter smaller, chained over a base model."""
