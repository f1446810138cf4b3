"""From states that several turns began in."""
