"""Sokoban: the environment, its generator, its solver and the reader of Boxoban's files."""
