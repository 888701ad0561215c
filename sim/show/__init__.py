"""What people look at: descriptions in words, figures, pages."""
