"""SOTOPIA's parts: scenarios and characters, who sees what, acts, goals that a rule can score, partners."""
