"""``make bench-images``: thumbnails a second, and what each encoder makes of them, beside what others do.

photos     photographs of 12 megapixels, and small ones for the encoders
rates      four thumbnails of each: the bare function, pyvips, the whole chain
encoders   bytes, seconds and two measures of quality; bytes at the quality of guetzli
article    how 89 KB became 33 KB
"""
