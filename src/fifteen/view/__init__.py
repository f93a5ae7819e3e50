"""Show experiments: curves in the terminal and in print, a page in the browser, notebooks.

Nothing here imports JAX. Libraries that draw are imported when they are used.
"""
