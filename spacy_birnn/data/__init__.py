"""Annotated texts: read as other tools write them, made into corpora of spaCy, looked through."""
