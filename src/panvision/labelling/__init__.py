"""Labels for a person to correct: pre-labels in many formats, the images worth labelling, frames that a robot keeps."""
