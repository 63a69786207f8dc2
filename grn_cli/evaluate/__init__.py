"""`grn eval`: what models are worth, in numbers; a module for each kind of measurement."""
