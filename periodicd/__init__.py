"""periodicd: a timed-job server that never loses what it acknowledged. docs/architecture.md shows the house."""

from periodicd.build import BUILD

__all__ = ["BUILD", "__version__"]

__version__ = "0.1.0"
