"""Continuous batching step by step, written for reading: the oracle of the compiled engine.

The rules are those of vLLM's V1 scheduler (0.8.5): running requests first, then waiting ones in
order, a token budget that cuts long prompts into pieces, KV in blocks, preemption of the request
that was let in last, and adapter slots that only requests of adapters in the batch may share.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hardwire.models.gpu_server import StepTime


@dataclass
class Job:
    """A request in the server. Times in nanoseconds, None where not yet."""

    number: int
    arrival: int
    prompt: int
    output: int
    adapter: int  # -1 for the base model
    computed: int = 0  # tokens whose KV is in memory
    target: int = 0  # tokens that were known when it was let in last
    blocks: int = 0
    take: int = 0  # tokens that it computes in this step
    generated: int = 0
    start: int | None = None
    first: int | None = None
    finish: int | None = None
    hit: int = -1
    wait: int = 0
    preemptions: int = 0

    @property
    def known(self) -> int:
        """Tokens of the prompt and of the output so far."""
        return self.prompt + self.generated


@dataclass
class Slots:
    """Adapters in GPU slots and in host memory, least recently used out first.

    A step goes through its adapters in a fixed order and has each in a slot when its turn comes.
    One that is missing takes the slot of the least recently used, which can be of the same step,
    with its turn still to come: it is then copied again, and so on. So does
    ``LRUCacheLoRAModelManager.activate_adapter`` of vLLM 0.8.5.
    """

    count: int
    turns: list[int]  # by adapter, its place in the order of a step
    host: dict[int, tuple[int, int]]  # adapter in host memory -> step and turn of its last use
    held: set[int] = field(default_factory=set)  # adapters in slots

    def use(self, batch: set[int], step: int) -> list[tuple[int, bool]]:
        """Go through a step's adapters; which are copied, and whether from disk."""
        copied = []
        for adapter in sorted(batch, key=lambda a: self.turns[a]):
            if adapter not in self.held:
                from_disk = adapter not in self.host
                if from_disk:
                    oldest = min(self.host, key=lambda a: self.host[a])
                    del self.host[oldest]
                    self.held.discard(oldest)
                if len(self.held) == self.count:
                    self.held.remove(min(self.held, key=lambda a: self.host[a]))
                self.held.add(adapter)
                copied.append((adapter, from_disk))
            self.host[adapter] = (step, self.turns[adapter])
        return copied


@dataclass
class Outcome:
    """What a run leaves beside its jobs: times in ns, memory in blocks."""

    end: int
    busy: int
    loads: list[tuple[int, int, int]]  # adapter, begin, end
    used: list[tuple[int, int]]  # time and blocks in use, one entry per step


def run(
    jobs: list[Job],
    time: StepTime,
    *,
    slots: int,
    host: list[int],
    turns: list[int],
    copies: list[int],
    blocks: int,
    block_tokens: int,
    max_seqs: int,
    max_tokens: int,
    until: int | None,
    whole: bool = False,
    connections: int | None = None,
    concurrency: int | None = None,
    frontend: int = 0,
) -> Outcome:
    """Serve all jobs, in order of arrival, or stop at ``until``.

    Parameters
    ----------
    jobs : in order of arrival; what happens to them is written into them.
    time : coefficients of a step's time, ps.
    slots : adapter slots, 0 for LoRA disabled.
    host : adapters that are in host memory at the begin, the one used last at the end.
    turns : of each adapter, its place in the order in which a step goes through its adapters.
    copies : of each adapter, the time of its copy into a slot, ps.
    blocks, block_tokens : KV memory.
    max_seqs, max_tokens : requests and tokens in a step.
    until : ns, or None for no limit.
    whole : a request is let in with the blocks of its whole output, and never preempted.
    connections : that the client can have open; a request that finds none is not sent.
    concurrency : requests in flight of a closed loop; the arrivals of later ones are written into
        them when earlier ones end. None for arrivals as stated.
    frontend : ns from there to the queue, of a request that comes when another ends.
    """
    coming, waiting, running = deque(jobs), deque[Job](), list[Job]()
    memory = Slots(slots, turns, {adapter: (n - len(host), 0) for n, adapter in enumerate(host)})
    loads: list[tuple[int, int, int]] = []
    used: list[tuple[int, int]] = []
    free, now, busy, step = blocks, 0, 0, 0
    closing = 0  # connections whose requests ended with the last step, at ``now``
    held_back = deque(jobs[len(jobs) if concurrency is None else concurrency :])

    while True:
        while coming and coming[0].arrival <= now:
            job = coming.popleft()
            opened = len(waiting) + len(running) + (closing if job.arrival < now else 0)
            if connections is None or opened < connections:
                waiting.append(job)
        if not running and not waiting:
            if not coming or (until is not None and coming[0].arrival >= until):
                break
            now = coming[0].arrival
            continue
        if until is not None and now >= until:
            break

        # Running requests first: one token each, or the next piece of a prompt.
        budget, context, prompt_tokens, decoding = max_tokens, 0, 0, list[Job]()
        twice_pairs = 0
        preempted = False
        place = 0
        while place < len(running):
            job = running[place]
            job.take = min(job.known - job.computed, budget)
            need = max(-(-(job.computed + job.take) // block_tokens) - job.blocks, 0)
            while need > free:
                victim = running.pop()
                free += victim.blocks
                victim.blocks = victim.computed = 0
                victim.preemptions += 1
                waiting.appendleft(victim)
                preempted = True
                if victim is job:
                    break
            if place == len(running):
                break
            free -= need
            job.blocks += need
            budget -= job.take
            if job.computed >= job.target:
                decoding.append(job)
                context += job.computed + 1
            else:
                prompt_tokens += job.take
                twice_pairs += job.take * (2 * job.computed + job.take + 1)
            place += 1

        # Then waiting ones, in order, past those whose adapter finds no slot.
        in_batch = {job.adapter for job in running if job.adapter >= 0}
        let_in, asking = 0, dict[int, Job]()
        skipped = deque[Job]()
        while not preempted and waiting and budget > 0 and len(running) < max_seqs:
            job = waiting[0]
            is_new = job.adapter >= 0 and job.adapter not in in_batch
            if slots > 0 and is_new and len(in_batch) == slots:
                skipped.append(waiting.popleft())
                continue
            take = min(job.known, budget)
            need = -(-(job.prompt + job.output if whole else take) // block_tokens)
            if need > free:
                break
            running.append(waiting.popleft())
            free -= need
            job.blocks, job.take, job.target = need, take, job.known
            budget -= take
            prompt_tokens += take
            twice_pairs += take * (take + 1)
            let_in += 1
            hit = -1
            if job.adapter >= 0:
                hit = int(job.adapter in in_batch or job.adapter in memory.held)
                if not hit:
                    asking[job.adapter] = job
                in_batch.add(job.adapter)
            if job.start is None:
                job.start, job.hit = now, hit
        waiting.extendleft(reversed(skipped))

        load_ps = 0
        for adapter, from_disk in memory.use(in_batch, step):
            begin = load_ps
            load_ps += copies[adapter] + (time.disk_load if from_disk else 0)
            loads.append((adapter, now + begin // 1000, now + load_ps // 1000))
            if adapter in asking:
                asking[adapter].wait += loads[-1][2] - loads[-1][1]

        used.append((now, blocks - free))
        tokens = len(decoding) + prompt_tokens
        linear = time.token * tokens + time.head * len(decoding)
        read = time.weights + (time.experts[tokens] if time.experts else 0)
        step_ps = (
            time.step
            + max(read, linear)
            + time.sequence * len(decoding)
            + time.kv_token * context
            + time.prefill_token * prompt_tokens
            + time.pair * twice_pairs // 2
            + time.request * let_in
            + time.distinct * len(in_batch)
            + time.lora_sequence * sum(job.adapter >= 0 for job in decoding)
            + time.passed * len(skipped)
            + load_ps
        )
        end = now + max((step_ps + 500) // 1000, 1)
        if until is not None and end > until:
            busy += until - now
            now = until
            break
        busy += end - now
        now = end

        # Every request whose known tokens are all computed has a new one.
        closing = 0
        for job in list(running):
            job.computed += job.take
            if job.computed < job.known:
                continue
            job.generated += 1
            if job.first is None:
                job.first = end
            if job.generated == job.output:
                job.finish = end
                if held_back:
                    held_back.popleft().arrival = end + frontend
                running.remove(job)
                closing += 1
                free += job.blocks
                job.blocks = 0
        step += 1
    return Outcome(now, busy, loads, used)
