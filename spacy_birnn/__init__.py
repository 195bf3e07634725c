"""Bidirectional recurrent sequence models for spaCy."""

__version__ = "0.1.0"
