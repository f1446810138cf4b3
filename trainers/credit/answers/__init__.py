"""From the answer's probability."""
