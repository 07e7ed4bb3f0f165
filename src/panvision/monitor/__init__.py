"""A pan watched over time: smoothed mask, boxes and state, and events. NumPy and Pillow only."""

from panvision.monitor.errors import MonitorError
from panvision.monitor.events import Event
from panvision.monitor.monitor import Monitor, Reading
from panvision.monitor.options import MonitorOptions

__all__ = ["Event", "Monitor", "MonitorError", "MonitorOptions", "Reading"]
