"""A pan watched over time: steadied mask, boxes and state, and events. NumPy, Pillow and the Predictor's results."""

from panvision.monitor.events import Event
from panvision.monitor.monitor import Monitor, Reading
from panvision.monitor.options import MonitorError, MonitorOptions

__all__ = ["Event", "Monitor", "MonitorError", "MonitorOptions", "Reading"]
