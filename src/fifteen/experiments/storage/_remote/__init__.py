"""Directories in object stores."""
