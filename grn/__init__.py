"""Generative Refinement Networks: a discrete tokenizer for images and video, and a generator that refines whole token maps."""

__version__ = "0.1.0"
