"""`grn generate`: what is asked for, what it starts from, drawing it, and writing it."""
