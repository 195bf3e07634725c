"""The layers as Thinc models, registered as spaCy architectures. PyTorch is imported when a model
is initialized or loaded, not before."""
