"""Training and evaluation data: pictures with captions or classes, and cached codes."""
