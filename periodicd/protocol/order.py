"""Params of the methods about the order among jobs, checked as in requests.py: settings, locks, groups."""

from typing import Any

from periodicd.function import Function, Rate
from periodicd.lock import NOTHING_SET, Lock
from periodicd.protocol import fields, order_fields, requests
from periodicd.protocol.words import take


def set_function(params: list[Any], _rules: requests.Rules) -> tuple[str, Function]:
    """The second has only what can be set."""
    said = take(params, order_fields.SetFunction)
    settings = said.settings or order_fields.FunctionSettings()
    function = Function(
        running_max=settings.running_max,
        rate=_rate(settings.rate),
        queue_max=settings.queue_max,
        lease_ms=settings.lease_ms,
        retry=None if settings.retry is None else requests.retry_of(settings.retry),
        result_ms=settings.result_ms,
    )
    return said.func, function


def set_lock(params: list[Any], _rules: requests.Rules) -> tuple[str, Lock]:
    said = take(params, order_fields.SetLock)
    settings = said.settings or order_fields.LockSettings()
    return said.lock, Lock(settings.capacity or NOTHING_SET.capacity, _rate(settings.rate))


def _rate(said: order_fields.Rate | None) -> Rate | None:
    return None if said is None else Rate(said.count, said.per_ms)


def locks(params: list[Any], _rules: requests.Rules) -> tuple[requests.FunctionsQuery]:
    """A page of locks is asked for as one of functions."""
    said = take(params, fields.Locks).query or fields.LocksQuery()
    return (
        requests.FunctionsQuery(said.prefix or "", said.after or "", said.limit or requests.FunctionsQuery().limit),
    )


def submit_group(params: list[Any], rules: requests.Rules) -> tuple[requests.Group]:
    said = take(params, order_fields.SubmitGroup).group
    then = requests.submission(said.then, "group.then", rules)
    jobs = requests.submissions(said.jobs or (), "group.jobs", rules)
    return (requests.Group(then, jobs, said.sealed is not False),)


def pause(params: list[Any], _rules: requests.Rules) -> tuple[str]:
    return (take(params, order_fields.Pause).func,)


def resume(params: list[Any], _rules: requests.Rules) -> tuple[str]:
    return (take(params, order_fields.Resume).func,)
