"""Compiles Thinc models to ONNX graphs, with which ONNX Runtime predicts."""
