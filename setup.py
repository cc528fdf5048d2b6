"""The one thing that pyproject.toml cannot say: the description for PyPI is README.md without its links to files.

They lead nowhere from there, as there is no address yet under which the pages can be read. The names stay.
"""

import re
from pathlib import Path

from setuptools import setup

NOTE = """
The pages named here are in the source distribution: `pip download --no-deps --no-binary periodicd periodicd`.
"""

readme = Path(__file__).with_name("README.md").read_text()
setup(
    long_description=re.sub(r"\[([^]]+)\]\((?!https?:|#)[^)]+\)", r"\1", readme) + NOTE,
    long_description_content_type="text/markdown",
)
