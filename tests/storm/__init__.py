"""A storm: pictures of all kinds through the whole chain, while two workers are killed at random and started again.

    make storm PICTURES=2000 SEED=1

Each picture has a colour of its own, some are saved a second time with another one while the first is on its way, some
are damaged, and files are removed from root two seconds after they were written. In the end every object must be the
one of the picture that was saved last, in its format, size and colour; nothing may be left in root but what a job that
is dead still needs; and neither daemon nor workers may have grown.
"""
