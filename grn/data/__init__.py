"""Training and evaluation data: pictures with captions or classes, and codes made of them."""
