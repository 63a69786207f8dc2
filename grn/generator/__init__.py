"""Generators: functions from (token map, selection ratio, condition) to logits.

They know nothing of tokenizers, pixels or files.
"""
