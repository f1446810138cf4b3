"""Social worlds: games of several seats in text, one module a game by PettingZoo's convention."""
