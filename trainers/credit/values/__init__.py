"""From values."""
