"""From what the environment tells besides."""
