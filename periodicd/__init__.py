"""periodicd: a timed-job server that never loses what it acknowledged. docs/architecture.md shows the house."""

__version__ = "0.1.0"
