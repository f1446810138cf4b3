"""Signals at work: what the trainer computes, and learns, beyond rollouts, by the names of `signal_names`."""
