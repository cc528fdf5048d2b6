"""Whatever comes in whatever order, the least is first."""

from hypothesis import given
from hypothesis import strategies as st

from periodicd.scheduler.ordered import Ordered


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)) | st.none()))
def test_the_first_is_the_least_of_what_is_there(acts: list[tuple[int, int] | None]) -> None:
    """None: the first is taken out."""
    order: Ordered[tuple[int, int]] = Ordered()
    there: list[tuple[int, int]] = []
    for act in acts:
        if act is not None:
            order.add(act)
            there.append(act)
        elif there:
            order.drop_first()
            there.remove(min(there))
        assert order.first() == min(there, default=None)
        assert sorted(order) == sorted(there)
        assert len(order) == len(there)


def test_what_it_is_filled_with_needs_no_order() -> None:
    order: Ordered[tuple[int]] = Ordered()
    order.add((9,))
    order.fill([(3,), (1,), (2,)])
    assert list(order) == [(1,), (2,), (3,)]
