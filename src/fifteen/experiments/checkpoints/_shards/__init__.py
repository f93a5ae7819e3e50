"""Checkpoints of several processes in an object store: a file of each, and a manifest."""
