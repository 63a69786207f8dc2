"""Prompts as sequences of token vectors."""
