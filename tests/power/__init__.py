"""Power loss: the crash loop on a file system that forgets, at each cut, what was not synced.

``python -m tests.power --cuts 50 --seed 1``. It needs FUSE (Debian: ``libfuse3-dev fuse3 pkg-config gcc``, then
``pip install pyfuse3``) and the right to mount.
"""
