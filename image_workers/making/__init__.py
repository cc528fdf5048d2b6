"""From pixels to thumbnails: what is wanted of them, their sizes, and the files that they become.

    forms      what a thumbnail is to be, and how large it comes out: arithmetic alone
    scaling    all sizes from one picture, each from the one above it; also in linear light
    encoders   pixels to the bytes of a JPEG, WebP, AVIF or PNG

Nothing here sees a stranger's bytes: these are decoded by `pictures`. Nothing is imported here.
"""
