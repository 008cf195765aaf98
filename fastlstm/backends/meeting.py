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
    if now < load(block + t.RESTS):
        return False
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
    store(block + t.TICKET, load(block + t.TICKET) + 1)


@inner
def settle(team, block, own):
    """Whether the helper's part is done, waiting for it as long as the leader's `own` has taken.

    If not, and it has cost more than it has saved of late, it rests.
    """
    ticket, unit, penalty = load(block + t.TICKET), load(team + t.MICROSECOND), load(block + t.PENALTY)
    finished, late = clock(), False
    while load(block + t.DONE) != ticket:
        if late:
            now = clock()
            owed = now - finished - load(block + t.SAVED)
            store(block + t.SAVED, max(-owed, 0))
            if owed > 0:
                penalty = min(max(2 * penalty, t.REST * owed), t.LONGEST_REST * unit)
                store(block + t.PENALTY, penalty)
                store(block + t.RESTS, now + penalty)
            return False
        pause()
        late = clock() - finished > own + t.SLACK * unit  # looks once more: this thread may have been put aside
    store(block + t.SAVED, min(load(block + t.SAVED) + own, t.MOST_SAVED * unit))
    if penalty != 0:
        store(block + t.PENALTY, penalty - penalty // 8 - 1)
    return True


@inner
def await_job(team, block):
    """A helper's wait -> the ticket of the job in its block; negative when it is to end."""
    seen, since, unit = load(block + t.DONE), clock(), load(team + t.MICROSECOND)
    if load(block + t.RESTS) - since > t.LONG_REST * unit:
        since -= t.LINGER * unit  # it was late, and is in the way of others
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
def report(block, ticket):
    """A helper has done the job of this ticket; 0 when it arrives."""
    store(block + t.DONE, ticket)
