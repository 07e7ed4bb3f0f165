"""The trained model as an ONNX file with proven parity."""
