"""From implicit, learned or judged step scores."""
