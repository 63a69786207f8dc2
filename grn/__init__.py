"""Generative Refinement Networks: a tokenizer for images and video, and a generator that refines whole token maps."""

__version__ = "0.1.0"
