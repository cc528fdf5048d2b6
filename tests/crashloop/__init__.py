"""The crash loop: the real daemon under load, killed again and again, and what was acknowledged counted afterwards.

``python -m tests.crashloop --kills 300 --seed 1``. What the loop proves and what it found is in docs/reliability.md.
"""
