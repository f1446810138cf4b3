"""From outcomes alone."""
