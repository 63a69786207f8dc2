"""Training of tokenizers and generators from recipes."""
