"""How a leader and its helpers meet, compiled. `team.py` has the idea and the words' places; a block is a helper's."""

from __future__ import annotations

from fastlstm.backends import team as t
from fastlstm.backends.atomics import call, clock, exchange, load, pause, store
from fastlstm.backends.jit import inner, scalar


@inner
def enter(team, leader, span):
    """Become the team's leader -> whether it had none.

    leader  the address of the arena, by which `cpu_jobs.shared` knows who asks
    span    elements of that arena; the helpers' follow
    """
    if exchange(team + t.OWNED, 1) != 0:
        return False
    now = clock()
    if now - load(team + t.LAST) > t.LINGER * load(team + t.MICROSECOND):
        store(team + t.SINCE, now)
    store(team + t.SPAN, span)
    store(team + t.LEADER, leader)
    return True


@inner
def leave(team):
    store(team + t.LEADER, 0)
    store(team + t.LAST, clock())
    store(team + t.OWNED, 0)


@scalar
def helpers(team):
    """How many there may be."""
    return load(team + t.SIZE)


@scalar
def helper(team, k):
    """The address of a helper's block."""
    return team + t.HELPERS + k * t.BLOCK


@inner
def gather(team, most):
    """Choose helpers for up to `most` parts in all -> parts. A helper's PART is its own, or 0; the leader's is 0."""
    parts, now = 1, clock()
    for k in range(helpers(team)):
        block = helper(team, k)
        chosen = parts < most and _ready(team, block, now)
        store(block + t.PART, parts if chosen else 0)
        parts += chosen
    if parts == 1:
        store(team + t.NOBODY, now + t.LOOK_AGAIN * load(team + t.MICROSECOND))
    return parts


@inner
def _ready(team, block, now):
    if load(block + t.SLEEP) == t.ASLEEP:
        unit = load(team + t.MICROSECOND)
        busy, tried = now - load(team + t.SINCE), now - load(block + t.WOKEN)
        if busy > t.WORTH_WAKING * unit and tried > t.WAKE_AGAIN * unit:
            store(block + t.WOKEN, now)
            if exchange(block + t.SLEEP, t.WAKING) == t.ASLEEP:
                call(load(team + t.WRITE), load(block + t.WRITE_TO), load(team + t.BYTE), 1)
        return False
    return load(block + t.SLEEP) == t.AWAKE and load(block + t.DONE) == load(block + t.TICKET)


@inner
def give(block):
    """Let a helper begin with the job that stands in its block."""
    store(block + t.TAKEN, 0)
    store(block + t.COUNT, 0)
    store(block + t.TICKET, load(block + t.TICKET) + 1)


@inner
def take(block, taken):
    """The leader computes so many of a helper's tiles itself, from the end."""
    store(block + t.TAKEN, taken)


@inner
def came(block, wanted, of, patience):
    """How many tiles a helper has computed; it is waited for so long where one alone of the `wanted` is missing.

    of  the part's tiles: one that has not begun while the leader computed all others of them is not waited for
    """
    count = load(block + t.COUNT)
    if count == wanted - 1 and (count > 0 or of == 1):
        start = clock()
        while count < wanted and clock() - start < patience:
            pause()
            count = load(block + t.COUNT)
    return count


@inner
def await_job(team, block):
    """A helper's wait -> the ticket of the job in its block; negative when it is to end."""
    seen, since, unit = load(block + t.DONE), clock(), load(team + t.MICROSECOND)
    while load(block + t.TICKET) == seen:
        idle = clock() - since
        if idle < t.SPIN * unit:
            pause()
        elif idle < t.LINGER * unit:
            call(load(team + t.YIELD), 0, 0, 0)
        else:
            _sleep(team, block, seen)
            since = clock()
    return load(block + t.TICKET)


@inner
def _sleep(team, block, seen):
    exchange(block + t.SLEEP, t.ASLEEP)
    if load(block + t.TICKET) == seen or exchange(block + t.SLEEP, t.AWAKE) != t.ASLEEP:
        # Nothing has come in between; or it has, and who brought it also writes.
        while call(load(team + t.READ), load(block + t.READ_FROM), load(team + t.BYTE), 1) != 1:
            if load(block + t.TICKET) == t.STOP:
                return
        store(block + t.SLEEP, t.AWAKE)


@inner
def taken(block):
    return load(block + t.TAKEN)


@inner
def tell(block, count):
    """A helper has computed so many tiles."""
    store(block + t.COUNT, count)


@inner
def report(block, ticket):
    """A helper has done the job of this ticket; 0 when it arrives."""
    store(block + t.DONE, ticket)
