"""Text that people and programs write: quantities, CPU lists, YAML with places, problems with a place."""
