"""Output for people: descriptions in words, figures, pages."""
