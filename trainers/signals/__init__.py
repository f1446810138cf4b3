"""Signals at work: what the trainer computes, and learns, beyond rollouts, by the names of `signal_names`.

A signal is a part that adds columns to an experience. It may learn, before or after credit is given: a scheme defines
the targets, the signal fits to them. One of your own is a subclass of `Signal`, named in a configuration as
`signals: {"my_module:MyCritic": {…}}`.
"""
