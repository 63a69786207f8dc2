"""Refinement: drawing a whole token map again and again until it stands (section 3.2, algorithm 3)."""
