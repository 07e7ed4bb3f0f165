"""Image files to upright RGB arrays, and raw masks."""
