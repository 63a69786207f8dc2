"""Models by name: what is known (registry), where it lies (store), and the authors' published weights (published)."""
