"""Child processes: what may hang, crash or take all memory runs in one, which ends with the worker.

    process              a child, as its worker holds it
    pool                 the decoding children, their turns and their budget
    channel              what a worker and a decoding child say to one another
    decoding, confined   run in the child: decoding pictures; limits, and the end with the parent

`decoder` and `guetzli`, which stand outside, are what the steps call. Nothing is imported here: each child loads it.
"""
