"""Waits double up to a limit and are spread."""

from random import Random

from periodic_client.reconnect import FIRST_WAIT_S, LONGEST_WAIT_S, Backoff


def test_waits_double_to_the_longest_and_start_anew() -> None:
    backoff = Backoff(Random(1))
    full_s = FIRST_WAIT_S
    for _ in range(20):
        assert full_s / 2 <= backoff.next_s() <= full_s
        full_s = min(LONGEST_WAIT_S, full_s * 2)
    assert full_s == LONGEST_WAIT_S
    backoff.reset()
    assert backoff.next_s() <= FIRST_WAIT_S


def test_two_workers_do_not_wait_alike() -> None:
    assert Backoff(Random(1)).next_s() != Backoff(Random(2)).next_s()
