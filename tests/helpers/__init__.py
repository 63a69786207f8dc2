"""What several test files share: small models, clips and archives, and plain twins of what is fast."""
