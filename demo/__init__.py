"""``make demo``: photographs through the whole chain, by the real daemon and the real workers, seen from outside."""
