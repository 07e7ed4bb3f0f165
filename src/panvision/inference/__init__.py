"""The shipped model on one image or on a folder of images, with PyTorch or ONNX Runtime."""

from panvision.inference.api import infer_image, load_model, run_inference
from panvision.inference.predictor import Predictor

__all__ = ["Predictor", "infer_image", "load_model", "run_inference"]
