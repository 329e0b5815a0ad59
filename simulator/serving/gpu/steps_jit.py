"""The compiled engine of continuous batching: whole numbers in, whole nanoseconds out.

State lies in three tables of int64, so that a run can stop after any step and go on later. The
rules are those of `hardwire.simulator.serving.gpu.reference`; only the waiting queue is kept
otherwise: one list in global order and one per adapter, so that letting a request in costs at most
one look at each adapter of the running requests, however long the queue is.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from hardwire.kernels.jit import inner

NONE = -1
NEVER = np.iinfo(np.int64).max

# Columns of the requests' table, one row per request in order of arrival.
(
    ARRIVAL, PROMPT, OUTPUT, ADAPTER, COMPUTED, TARGET, BLOCKS, TAKE, GENERATED, START, FIRST,
    FINISH, HIT, WAIT, PREEMPTIONS, ORDER, NEXT, PREVIOUS, QUEUE_NEXT,
) = range(19)  # fmt: skip
REQUEST_COLUMNS = 19

# Columns of the adapters' table; row 0 stands for the base model, row a + 1 for adapter a.
HEAD, TAIL, RUNNING, RESIDENT, LAST_USED, IN_HOST, TURN, SINCE, ASKING, PLACE, COPY = range(11)
ADAPTER_COLUMNS = 11

# Entries of the state.
(
    NOW, ARRIVED, COUNT, WAITING, FIRST_WAITING, LAST_WAITING, FREE, FRONT, ACTIVE, SLOTS_USED,
    STEP, LOADS, STRIDE, SAMPLES, PEAK, PEAK_TIME, BUSY, DONE, CLOSING, RETURNED, RELEASED,
) = range(21)  # fmt: skip
STATE_ENTRIES = 21

# Entries of the configuration; the times are picoseconds.
(
    BLOCK, MAX_SEQS, MAX_TOKENS, SLOTS, KV_BLOCKS, UNTIL, T_STEP, T_SEQUENCE, T_KV, T_PREFILL,
    T_REQUEST, T_DISTINCT, T_LORA, T_PASS, T_DISK, T_WEIGHTS, T_TOKEN, T_HEAD, T_PAIR, WHOLE,
    CONNECTIONS, FRONTEND,
) = range(22)  # fmt: skip
CONFIG_ENTRIES = 22


@inner
def _count(counts: Any, r: int, change: int) -> None:
    """Note in a binary indexed tree that a request waits in its order of arrival, or does not."""
    place = r + 1
    while place < len(counts):
        counts[place] += change
        place += place & -place


@inner
def _waiting_before(requests: Any, state: Any, counts: Any, r: int) -> int:
    """How many requests wait in front of one that may or may not itself wait."""
    found, order = 0, requests[r, ORDER]
    if order < 0:  # it was preempted, and so were those in front of it
        other = state[FIRST_WAITING]
        while other != NONE and requests[other, ORDER] < order:
            found += 1
            other = requests[other, NEXT]
        return found
    place = r
    while place > 0:
        found += counts[place]
        place -= place & -place
    return int(found + state[RETURNED])


@inner
def _push_back(requests: Any, adapters: Any, state: Any, counts: Any, r: int) -> None:
    last = state[LAST_WAITING]
    requests[r, ORDER] = r
    requests[r, PREVIOUS], requests[r, NEXT] = last, NONE
    if last == NONE:
        state[FIRST_WAITING] = r
    else:
        requests[last, NEXT] = r
    state[LAST_WAITING] = r
    queue = requests[r, ADAPTER] + 1
    requests[r, QUEUE_NEXT] = NONE
    if adapters[queue, HEAD] == NONE:
        adapters[queue, HEAD] = r
    else:
        requests[adapters[queue, TAIL], QUEUE_NEXT] = r
    adapters[queue, TAIL] = r
    state[WAITING] += 1
    _count(counts, r, 1)


@inner
def _push_front(requests: Any, adapters: Any, state: Any, r: int) -> None:
    first = state[FIRST_WAITING]
    state[FRONT] -= 1
    requests[r, ORDER] = state[FRONT]
    requests[r, PREVIOUS], requests[r, NEXT] = NONE, first
    if first == NONE:
        state[LAST_WAITING] = r
    else:
        requests[first, PREVIOUS] = r
    state[FIRST_WAITING] = r
    queue = requests[r, ADAPTER] + 1
    requests[r, QUEUE_NEXT] = adapters[queue, HEAD]
    if adapters[queue, HEAD] == NONE:
        adapters[queue, TAIL] = r
    adapters[queue, HEAD] = r
    state[WAITING] += 1
    state[RETURNED] += 1


@inner
def _take_out(requests: Any, adapters: Any, state: Any, counts: Any, r: int) -> None:
    """Remove a request, the first of its adapter's queue, from both lists."""
    before, after = requests[r, PREVIOUS], requests[r, NEXT]
    if before == NONE:
        state[FIRST_WAITING] = after
    else:
        requests[before, NEXT] = after
    if after == NONE:
        state[LAST_WAITING] = before
    else:
        requests[after, PREVIOUS] = before
    adapters[requests[r, ADAPTER] + 1, HEAD] = requests[r, QUEUE_NEXT]
    state[WAITING] -= 1
    if requests[r, ORDER] < 0:
        state[RETURNED] -= 1
    else:
        _count(counts, r, -1)


@inner
def _next_waiting(requests: Any, adapters: Any, state: Any, active: Any, slots: int) -> int:
    """First waiting request whose adapter may run now, or NONE."""
    if slots == 0 or state[ACTIVE] < slots:
        return int(state[FIRST_WAITING])
    best = adapters[0, HEAD]
    for i in range(state[ACTIVE]):
        head = adapters[active[i], HEAD]
        if head != NONE and (best == NONE or requests[head, ORDER] < requests[best, ORDER]):
            best = head
    return int(best)


@inner
def _stop_running(requests: Any, adapters: Any, state: Any, active: Any, r: int, used: int) -> None:
    """Give back blocks and adapter of a request that leaves the batch, last used in a step."""
    state[FREE] += requests[r, BLOCKS]
    requests[r, BLOCKS] = 0
    row = requests[r, ADAPTER] + 1
    if row == 0:
        return
    adapters[row, RUNNING] -= 1
    if adapters[row, RUNNING] == 0:
        adapters[row, LAST_USED] = used
        state[ACTIVE] -= 1
        last = active[state[ACTIVE]]
        active[adapters[row, PLACE]] = last
        adapters[last, PLACE] = adapters[row, PLACE]


@inner
def _older(adapters: Any, row: int, than: int) -> bool:
    """Whether an adapter was used before another one; a step goes through them by their turns."""
    if adapters[row, LAST_USED] != adapters[than, LAST_USED]:
        return bool(adapters[row, LAST_USED] < adapters[than, LAST_USED])
    return bool(adapters[row, TURN] < adapters[than, TURN])


@inner
def _load(adapters: Any, state: Any, resident: Any, row: int, slots: int) -> bool:
    """Put an adapter into a slot; whether it had to be read from disk first."""
    from_disk = adapters[row, IN_HOST] == 0
    if from_disk:
        victim = NONE
        for other in range(1, len(adapters)):
            if adapters[other, IN_HOST] == 1 and (
                victim == NONE or _older(adapters, other, victim)
            ):
                victim = other
        adapters[victim, IN_HOST] = 0
        adapters[row, IN_HOST] = 1
        if adapters[victim, RESIDENT] == 1:
            _leave(adapters, state, resident, victim)
    if state[SLOTS_USED] == slots:
        oldest = resident[0]
        for i in range(1, slots):
            if _older(adapters, resident[i], oldest):
                oldest = resident[i]
        _leave(adapters, state, resident, oldest)
    resident[state[SLOTS_USED]] = row
    state[SLOTS_USED] += 1
    adapters[row, RESIDENT] = 1
    return bool(from_disk)


@inner
def _leave(adapters: Any, state: Any, resident: Any, row: int) -> None:
    """Take an adapter out of its slot."""
    adapters[row, RESIDENT] = 0
    state[SLOTS_USED] -= 1
    for i in range(state[SLOTS_USED]):
        if resident[i] == row:
            resident[i] = resident[state[SLOTS_USED]]
            break


@inner
def _use(
    requests: Any, adapters: Any, state: Any, config: Any, active: Any, resident: Any, loads: Any
) -> int:
    """Go through a step's adapters by their turns, copy those that are missing; the time, ps."""
    batch = active[: state[ACTIVE]]
    missing = False
    for row in batch:
        missing |= adapters[row, RESIDENT] == 0
    if not missing:  # the order of last use is that of the turns, which are looked at when needed
        return 0
    for row in batch:
        if adapters[row, SINCE] < state[STEP]:
            adapters[row, LAST_USED] = state[STEP] - 1
    load_ps = np.int64(0)
    for place in np.argsort(adapters[batch, TURN]):
        row = batch[place]
        if adapters[row, RESIDENT] == 0:
            begin = load_ps
            load_ps += adapters[row, COPY]
            if _load(adapters, state, resident, row, config[SLOTS]):
                load_ps += config[T_DISK]
            entry = state[LOADS]
            loads[entry, 0] = row - 1
            loads[entry, 1] = state[NOW] + begin // 1000
            loads[entry, 2] = state[NOW] + load_ps // 1000
            state[LOADS] += 1
            if adapters[row, ASKING] != NONE:
                requests[adapters[row, ASKING], WAIT] += loads[entry, 2] - loads[entry, 1]
                adapters[row, ASKING] = NONE
        adapters[row, LAST_USED] = state[STEP]
    return int(load_ps)


@inner
def _sample(state: Any, samples: Any, used: int) -> None:
    """Keep every stride-th step; a full buffer drops every second one and doubles the stride."""
    if used > state[PEAK]:
        state[PEAK], state[PEAK_TIME] = used, state[NOW]
    if state[STEP] % state[STRIDE] != 0:
        return
    if state[SAMPLES] == len(samples):
        half = (len(samples) + 1) // 2
        for i in range(half):
            samples[i, 0], samples[i, 1] = samples[2 * i, 0], samples[2 * i, 1]
        state[SAMPLES] = half
        state[STRIDE] *= 2
        if state[STEP] % state[STRIDE] != 0:
            return
    samples[state[SAMPLES], 0], samples[state[SAMPLES], 1] = state[NOW], used
    state[SAMPLES] += 1


@inner
def _repeat(
    requests: Any, state: Any, config: Any, running: Any, samples: Any, fixed_ps: int
) -> None:  # fmt: skip
    """Repeat a step in which all that run decoded, nobody came or went, and no copy was made.

    The next step is the same but for the context, until somebody comes or ends, or memory runs
    out: what kept those who wait from being let in still does, for memory only shrinks.
    ``fixed_ps`` is what the step took beside its context.
    """
    count, block = state[COUNT], config[BLOCK]
    left, context = NEVER, 0
    grow = np.zeros(block, np.int64)  # requests that need a block, by steps from now
    for i in range(count):
        r = running[i]
        left = min(left, requests[r, OUTPUT] - requests[r, GENERATED] - 1)
        context += requests[r, COMPUTED] + 1
        room = requests[r, BLOCKS] * block - requests[r, COMPUTED]
        if room < block:
            grow[room] += 1
    arrival = NEVER
    if state[ARRIVED] < len(requests):
        arrival = requests[state[ARRIVED], ARRIVAL]
    done = 0
    while done < left and arrival > state[NOW]:
        need = grow[done % block]
        step_ps = fixed_ps + config[T_KV] * context
        end = state[NOW] + max((step_ps + 500) // 1000, 1)
        if need > state[FREE] or end > config[UNTIL]:
            break
        state[FREE] -= need
        _sample(state, samples, config[KV_BLOCKS] - state[FREE])
        state[BUSY] += end - state[NOW]
        state[NOW] = end
        state[STEP] += 1
        context += count
        done += 1
    for i in range(count):
        r = running[i]
        requests[r, COMPUTED] += done
        requests[r, GENERATED] += done
        requests[r, BLOCKS] = max(requests[r, BLOCKS], -(-requests[r, COMPUTED] // block))


@nb.njit(cache=True, nogil=True)
def run_steps(
    requests: Any, adapters: Any, state: Any, config: Any,
    running: Any, active: Any, resident: Any, loads: Any, samples: Any, counts: Any, experts: Any,
    steps: int,
) -> None:  # fmt: skip
    """Do up to ``steps`` steps; ``state[DONE]`` says whether all is over.

    Parameters
    ----------
    requests : (N, 19), adapters : (A + 1, 11), state : (21,), config : (22,), int64
    running : (max_seqs,), requests in the batch in the order in which they were let in.
    active : (slots,), rows of the adapters of running requests.
    resident : (slots,), rows of the adapters in slots.
    loads : (L, 3), adapter, begin and end in ns; the run stops where one step could overfill it.
    samples : (M, 2), time and KV blocks in use.
    experts : (max_batched_tokens + 1,) or (0,), time to read the experts that so many tokens meet.
    counts : (N + 1,), binary indexed tree over the requests that wait in their order of arrival.
    """
    count, block, slots = len(requests), config[BLOCK], config[SLOTS]
    for _ in range(steps):
        if state[COUNT] == 0 and state[WAITING] == 0:
            if state[ARRIVED] == count:
                state[DONE] = 1
                return
            arrival = requests[state[ARRIVED], ARRIVAL]
            if arrival >= config[UNTIL]:
                state[DONE] = 1
                return
            state[NOW] = max(state[NOW], arrival)
        while state[ARRIVED] < count and requests[state[ARRIVED], ARRIVAL] <= state[NOW]:
            opened = state[COUNT] + state[WAITING]
            if requests[state[ARRIVED], ARRIVAL] < state[NOW]:
                opened += state[CLOSING]
            if opened < config[CONNECTIONS]:
                _push_back(requests, adapters, state, counts, state[ARRIVED])
            state[ARRIVED] += 1
        if state[NOW] >= config[UNTIL]:
            state[DONE] = 1
            return
        if len(loads) - state[LOADS] < config[MAX_SEQS]:
            return

        # Running requests first: one token each, or the next piece of a prompt.
        budget = config[MAX_TOKENS]
        decoding, lora_decoding, context, prompt_tokens, let_in = 0, 0, 0, 0, 0
        twice_pairs = np.int64(0)
        preempted = False
        i = 0
        while i < state[COUNT]:
            r = running[i]
            left = requests[r, PROMPT] + requests[r, GENERATED] - requests[r, COMPUTED]
            take = min(left, budget)
            blocks = max(-(-(requests[r, COMPUTED] + take) // block), requests[r, BLOCKS])
            need = blocks - requests[r, BLOCKS]
            while need > state[FREE]:
                state[COUNT] -= 1
                victim = running[state[COUNT]]
                _stop_running(requests, adapters, state, active, victim, state[STEP] - 1)
                requests[victim, COMPUTED] = 0
                requests[victim, PREEMPTIONS] += 1
                _push_front(requests, adapters, state, victim)
                preempted = True
                if victim == r:
                    break
            if i == state[COUNT]:
                break
            state[FREE] -= need
            requests[r, BLOCKS] = blocks
            requests[r, TAKE] = take
            budget -= take
            if requests[r, COMPUTED] >= requests[r, TARGET]:
                decoding += 1
                context += requests[r, COMPUTED] + 1
                lora_decoding += requests[r, ADAPTER] >= 0
            else:
                prompt_tokens += take
                twice_pairs += take * (2 * requests[r, COMPUTED] + take + 1)
            i += 1

        # Then waiting ones, in order, past those whose adapter finds no slot.
        passed = 0
        while (
            not preempted and state[WAITING] > 0 and budget > 0 and state[COUNT] < config[MAX_SEQS]
        ):
            r = _next_waiting(requests, adapters, state, active, slots)
            if r == NONE:
                passed = state[WAITING]
                break
            target = requests[r, PROMPT] + requests[r, GENERATED]
            take = min(target, budget)
            held = requests[r, PROMPT] + requests[r, OUTPUT] if config[WHOLE] else take
            need = -(-held // block)
            passed = _waiting_before(requests, state, counts, r)
            if need > state[FREE]:
                break
            _take_out(requests, adapters, state, counts, r)
            state[FREE] -= need
            requests[r, BLOCKS], requests[r, TAKE], requests[r, TARGET] = need, take, target
            budget -= take
            prompt_tokens += take
            twice_pairs += take * (take + 1)
            let_in += 1
            running[state[COUNT]] = r
            state[COUNT] += 1
            row = requests[r, ADAPTER] + 1
            hit = NONE
            if row > 0:
                hit = int(adapters[row, RUNNING] > 0 or adapters[row, RESIDENT] == 1)
                if hit == 0:
                    adapters[row, ASKING] = r
                if adapters[row, RUNNING] == 0:
                    active[state[ACTIVE]] = row
                    adapters[row, PLACE] = state[ACTIVE]
                    adapters[row, SINCE] = state[STEP]
                    state[ACTIVE] += 1
                adapters[row, RUNNING] += 1
            if requests[r, START] == NONE:
                requests[r, START] = state[NOW]
                requests[r, HIT] = hit

        copied = state[LOADS]
        load_ps = _use(requests, adapters, state, config, active, resident, loads)
        _sample(state, samples, config[KV_BLOCKS] - state[FREE])
        linear = config[T_TOKEN] * (decoding + prompt_tokens) + config[T_HEAD] * decoding
        read = config[T_WEIGHTS]
        if len(experts) > 0:
            read += experts[decoding + prompt_tokens]
        step_ps = (
            config[T_STEP]
            + max(read, linear)
            + config[T_SEQUENCE] * decoding
            + config[T_KV] * context
            + config[T_PREFILL] * prompt_tokens
            + config[T_PAIR] * twice_pairs // 2
            + config[T_REQUEST] * let_in
            + config[T_DISTINCT] * state[ACTIVE]
            + config[T_LORA] * lora_decoding
            + config[T_PASS] * passed
            + load_ps
        )
        end = state[NOW] + max((step_ps + 500) // 1000, 1)
        if end > config[UNTIL]:
            state[BUSY] += config[UNTIL] - state[NOW]
            state[NOW] = config[UNTIL]
            state[DONE] = 1
            return
        state[BUSY] += end - state[NOW]
        state[NOW] = end

        # Every request whose known tokens are all computed has a new one.
        kept = 0
        state[CLOSING] = 0
        for i in range(state[COUNT]):
            r = running[i]
            requests[r, COMPUTED] += requests[r, TAKE]
            if requests[r, COMPUTED] == requests[r, PROMPT] + requests[r, GENERATED]:
                requests[r, GENERATED] += 1
                if requests[r, FIRST] == NONE:
                    requests[r, FIRST] = end
                if requests[r, GENERATED] == requests[r, OUTPUT]:
                    requests[r, FINISH] = end
                    state[CLOSING] += 1
                    if state[RELEASED] < count:  # of a closed loop, the next comes
                        requests[state[RELEASED], ARRIVAL] = end + config[FRONTEND]
                        state[RELEASED] += 1
                    _stop_running(requests, adapters, state, active, r, state[STEP])
                    continue
            running[kept] = r
            kept += 1
        state[STEP] += 1
        alike = kept == state[COUNT] and decoding == kept and let_in == 0 and not preempted
        alike = alike and state[LOADS] == copied
        state[COUNT] = kept
        if alike and kept > 0:
            _repeat(
                requests, state, config, running, samples, step_ps - config[T_KV] * context
            )  # fmt: skip
