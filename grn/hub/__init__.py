"""Models by name: what is known (registry), where a name leads (resolve), and the authors' published weights (convert)."""
