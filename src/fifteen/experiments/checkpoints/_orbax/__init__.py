"""Checkpoints as Orbax directories: those of several processes, and those of flax and Orbax."""
