"""Models from outside TensorFlow's own files -> layers: TensorFlow Lite, ONNX, PyTorch, and JSON of audio software."""
