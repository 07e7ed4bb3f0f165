"""The shipped model at work: one picture, or a folder of them, over PyTorch or ONNX Runtime."""

from panvision.inference.api import infer_image, load_model, run_inference
from panvision.inference.predictor import Predictor

__all__ = ["Predictor", "infer_image", "load_model", "run_inference"]
