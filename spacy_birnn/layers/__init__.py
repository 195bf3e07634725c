"""Recurrent layers in pure PyTorch: they know nothing of spaCy, Thinc or labels."""
