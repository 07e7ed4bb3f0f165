"""The trained model as ONNX files with proven parity."""
