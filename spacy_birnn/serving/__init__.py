"""A pipeline as an HTTP service: what `birnn serve` runs. Needs the extra "serve"."""
