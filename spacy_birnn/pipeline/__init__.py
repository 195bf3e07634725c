"""The spaCy components. They name their default models in config strings and import none."""
