"""Potluck, from inside a task: what the node that runs this program offers to it.

    import potluck

    potluck.set("greeting", {"to": "world"})        # values that all tasks and nodes share
    with potluck.semaphore("forks-1"):              # waits without a processor
        ...
    jobs = potluck.queue("jobs")
    jobs.send([1, 2, 3])
    child = potluck.spawn(square, 12)               # another task, on whichever peer is idle
    child.result()
    potluck.progress(0.4, "almost half")            # whoever sent the task sees it

Everything here is one message to the node and its reply. Functions that wait give their place to other tasks meanwhile,
and `timeout` is in seconds; None waits as long as the task may run. What a task holds when it ends, by whatever end, is
released: semaphores, blocks of memory, resources. Queues, values and files stay.

`to=` names another peer, by its id or `host:port`: there is where the value, queue, semaphore or file is then.

Every failure is a PotluckError with the node's own `code`; the subclasses are for those that programs can do something
about.
"""

import base64 as _base64
import json as _json
from collections import deque as _deque

__all__ = [
    "Block", "Child", "DeadlockVictim", "Entry", "Facts", "Forbidden", "InvalidMessage", "LimitReached", "MISSING",
    "Message", "NoProvider", "NotFound", "NotRunning", "PeerUnreachable", "PotluckError", "ProcessEnded", "Queue",
    "QuotaExceeded", "Semaphore", "TaskFailed", "TimedOut", "Version", "VersionMismatch", "allocate", "call", "cas",
    "delete", "delete_file", "entry", "get", "keys", "list_files", "lock", "map", "me", "progress", "queue",
    "read_file", "semaphore", "set", "spawn", "update", "watch", "write_file",
]  # fmt: skip

_MESSAGE_BYTES_MAX = 12 << 20
# Bytes of a block that travel in one message, before base64 makes them a third longer.
_PIECE_BYTES = 4 << 20
_PAGE_ENTRIES = 1000
# Longer than a task waits for anything.
_DAY = 86400
# Children that `map` has at a time: the node lets a task have 1000, and some of them may be others.
_MAP_CHILDREN_MAX = 400


# Whoever loads this module puts two functions there: one sends JSON and returns the reply's, the other tells the source
# of the program that runs.
if "_send" not in globals():

    def _send(message):
        raise RuntimeError("this module works only inside a Potluck task")

    def _program():
        return None


class PotluckError(Exception):
    """The node could not do it. `code` is for programs, the text for people."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self):
        return type(self), (self.code, self.message)


class NoProvider(PotluckError):
    """The node has no plugin for this."""


class Forbidden(PotluckError):
    """Tasks may not do this, or not this task."""


class TimedOut(PotluckError, TimeoutError):
    """The time-out was over first: a queue was still full, or empty, or a child still ran."""


class QuotaExceeded(PotluckError):
    """The submitter has used up its share; the text says until when."""


class LimitReached(PotluckError):
    """Something is full: the node's memory, its arena, the calls of this task."""


class InvalidMessage(PotluckError, ValueError):
    """The node does not understand what it was sent."""


class NotFound(PotluckError, LookupError):
    """There is no such thing, or not any more."""


class VersionMismatch(PotluckError):
    """Somebody else has changed the value meanwhile."""


class PeerUnreachable(PotluckError, ConnectionError):
    """The peer in `to=` cannot be reached, or was lost before it answered."""


class ProcessEnded(PotluckError):
    """The wait was called off, because the process that it was for has ended."""


class DeadlockVictim(PotluckError):
    """Tasks waited for each other in a circle, and this wait was given up so that the others can go on."""


class NotRunning(PotluckError):
    """Whoever calls is not the running task: a thread that outlived it, or a process that it has started."""


class TaskFailed(PotluckError):
    """A child failed. `error_type` and `traceback` are those of its exception, `reply` all that is known."""

    error_type = traceback = reply = None


_ERRORS = {
    "no_provider": NoProvider,
    "forbidden": Forbidden,
    "timeout": TimedOut,
    "quota_exceeded": QuotaExceeded,
    "limit_reached": LimitReached,
    "allocation_failed": LimitReached,
    "queue_full": TimedOut,
    "no_message": TimedOut,
    "invalid_message": InvalidMessage,
    "not_found": NotFound,
    "file_not_found": NotFound,
    "queue_deleted": NotFound,
    "semaphore_deleted": NotFound,
    "block_not_found": NotFound,
    "version_mismatch": VersionMismatch,
    "peer_unreachable": PeerUnreachable,
    "peer_lost": PeerUnreachable,
    "no_pool": PeerUnreachable,
    "process_ended": ProcessEnded,
    "deadlock_victim": DeadlockVictim,
    "not_running": NotRunning,
    "forked": NotRunning,
}


def _error(reply):
    code = reply.get("code") or "internal"
    return _ERRORS.get(code, PotluckError)(code, str(reply.get("error") or code))


def call(type, *, to=None, **fields):
    """Sends any message that tasks may send, and returns the reply as a dictionary.

    >>> potluck.call("GET_MEM", key="missing")["found"]
    False
    """
    message = {"type": type, **fields}
    if to is not None:
        message["to"] = to
    text = _json.dumps(message, allow_nan=False)
    if len(text) > _MESSAGE_BYTES_MAX:
        error = f"the message has {len(text)} bytes, over the limit of {_MESSAGE_BYTES_MAX}; send it in parts"
        raise LimitReached("limit_reached", error)
    reply = _json.loads(_send(text))
    if reply.get("type") == "ERROR":
        raise _error(reply)
    return reply


def _given(**fields):
    return {name: value for name, value in fields.items() if value is not None}


# Shared values.


class Version(int):
    """Which of the values that a key has had: each is larger than those before. 0 is no value."""


MISSING = Version(0)
"""For `cas` and `watch`: the key has no value."""


class Entry:
    """What is stored under a key: `found`, `value`, `version`, and `expires_in` in seconds, or None."""

    __slots__ = ("expires_in", "found", "key", "value", "version")

    def __init__(self, key, reply):
        self.key = key
        self.found = reply["found"]
        self.value = reply["value"]
        self.version = Version(reply.get("version") or 0) if self.found else MISSING
        self.expires_in = reply.get("expires_in_seconds")

    def __repr__(self):
        value = f", {self.value!r}, version={int(self.version)}" if self.found else ""
        return f"Entry({self.key!r}{value})"


def entry(key, *, to=None):
    """What is stored under a key, with its version."""
    return Entry(key, call("GET_MEM", key=key, to=to))


def get(key, default=None, *, to=None):
    """The value of a key, or `default` when it has none."""
    found = entry(key, to=to)
    return found.value if found.found else default


def set(key, value, ttl=None, *, to=None):
    """Stores a value, for ever or for `ttl` seconds. Returns its version."""
    return Version(call("SET_MEM", key=key, value=value, to=to, **_given(ttl_seconds=ttl))["version"])


def cas(key, expected, value, ttl=None, *, to=None):
    """Stores a value if the key still has the one that is expected, and tells whether it did.

    `expected` is that value, or its Version as `entry`, `set` and `watch` give it, or MISSING when there must be none.
    """
    while True:
        version = expected
        if not isinstance(expected, Version):
            found = entry(key, to=to)
            if not found.found or found.value != expected:
                return False
            version = found.version
        try:
            call("SET_MEM", key=key, value=value, if_version=version, to=to, **_given(ttl_seconds=ttl))
            return True
        except VersionMismatch:
            # It may have become another one and the same again.
            if isinstance(expected, Version):
                return False


def update(key, change, default=None, ttl=None, *, to=None):
    """Replaces the value by `change(value)`, so that no other change is lost; `default` stands for no value. Returns
    the new one.

    >>> potluck.update("count", lambda count: count + 1, default=0)
    1
    """
    while True:
        found = entry(key, to=to)
        value = change(found.value if found.found else default)
        if cas(key, found.version, value, ttl, to=to):
            return value


def delete(key, *, to=None):
    """Removes a value; tells whether there was one."""
    return call("DELETE_MEM", key=key, to=to)["deleted"]


def keys(prefix="", *, to=None):
    """All keys that begin with a text, in order."""
    found, after = [], {}
    while True:
        page = call("LIST_MEM", prefix=prefix, limit=_PAGE_ENTRIES, to=to, **after)
        found += [each["key"] for each in page["entries"]]
        if page["next"] is None:
            return found
        after = {"after": page["next"]}


def watch(key, version=None, timeout=None, *, to=None):
    """Waits until a key has another value than that of `version`, or none any more; without a version, than it has now.
    Returns the Entry, or raises TimedOut.
    """
    if version is None:
        version = entry(key, to=to).version
    reply = call("WATCH_MEM", key=key, after_version=version, to=to, **_given(timeout=timeout))
    found = Entry(key, reply)
    if found.version == version:
        raise TimedOut("timeout", f"the value of {key!r} has not changed within {timeout} s")
    return found


# Queues and semaphores.


class Message:
    """A message of a queue: `data`, `sender`, `type`."""

    __slots__ = ("data", "sender", "type")

    def __init__(self, fields):
        self.data = fields["data"]
        self.sender = fields["sender"]
        self.type = fields["message_type"]

    def __repr__(self):
        return f"Message({self.data!r}, sender={self.sender!r})"


class Queue:
    """A queue of the node that any number of tasks send to and receive from. Made by `queue`."""

    __slots__ = ("name", "to")

    def __init__(self, name, max_size=100, *, to=None):
        self.name = name
        self.to = to
        call("CREATE_QUEUE", queue_id=name, max_size=max_size, exist_ok=True, to=to)

    def send(self, data, receiver="?", timeout=None, *, type="DATA"):
        """Sends a value: to whoever asks first ("?"), to every receiver once ("*"), or to one by its name, such as a
        message's sender.

        While the queue is full it waits, and raises TimedOut at the end of `timeout`; 0 does not wait.
        """
        # The node's own default is short, for programs that do not expect to wait.
        timeout = _DAY if timeout is None else timeout
        fields = {"receiver": receiver, "message_type": type, "data": data, "timeout": timeout}
        call("SEND_MESSAGE", queue_id=self.name, to=self.to, **fields)

    def receive(self, timeout=None):
        """Takes the next value that is for this task, and waits for one; raises TimedOut if none comes."""
        return self.receive_message(timeout).data

    def receive_message(self, timeout=None):
        """As `receive`, with its sender: a Message."""
        return Message(call("RECEIVE_MESSAGE", queue_id=self.name, to=self.to, **_given(timeout=timeout)))

    def peek(self):
        """The Message that `receive` would take, or None. It stays."""
        try:
            return Message(call("PEEK_MESSAGE", queue_id=self.name, to=self.to))
        except TimedOut:
            return None

    def delete(self):
        """Removes the queue for everybody."""
        call("DELETE_QUEUE", queue_id=self.name, to=self.to)

    def __repr__(self):
        return f"Queue({self.name!r})"


def queue(name, max_size=100, *, to=None):
    """The queue of that name, which is made if there is none: Queue."""
    return Queue(name, max_size, to=to)


class Semaphore:
    """A semaphore of the node. `with` takes it and gives it back. Made by `semaphore` and `lock`."""

    __slots__ = ("name", "to")

    def __init__(self, name, value=1, *, binary=False, to=None):
        self.name = name
        self.to = to
        kind = "binary" if binary else "counting"
        call("CREATE_SEMAPHORE", sem_id=name, initial_value=value, kind=kind, exist_ok=True, to=to)

    def acquire(self, timeout=None):
        """Takes one unit, first come first served. False when the time-out is over first; 0 does not wait."""
        reply = call("SEMAPHORE_WAIT", sem_id=self.name, to=self.to, **_given(timeout=timeout))
        return reply.get("status") == "OK"

    def release(self):
        """Gives one unit. A task may also give what it has not taken: that is how one tells another something."""
        call("SEMAPHORE_SIGNAL", sem_id=self.name, to=self.to)

    def delete(self):
        """Removes the semaphore for everybody; who waits for it gets an error."""
        call("DELETE_SEMAPHORE", sem_id=self.name, to=self.to)

    def __enter__(self):
        self.acquire()
        return self

    def __exit__(self, *_):
        self.release()

    def __repr__(self):
        return f"Semaphore({self.name!r})"


def semaphore(name, value=1, *, to=None):
    """The semaphore of that name, which is made with `value` units if there is none: Semaphore."""
    return Semaphore(name, value, to=to)


def lock(name, *, to=None):
    """A semaphore that is free or taken, and nothing else: Semaphore."""
    return Semaphore(name, 1, binary=True, to=to)


# Files.


def read_file(name, *, to=None):
    """The bytes of a shared file of the node, of at most 8 MiB. Raises NotFound when there is none."""
    reply = call("GET_FILE", filename=name, to=to)
    if not reply["found"]:
        raise NotFound("file_not_found", f"the node has no file {name!r}")
    return _base64.b64decode(reply["data"])


def write_file(name, data, *, to=None):
    """Stores bytes, or a text as UTF-8, as a shared file of the node: at most 8 MiB."""
    data = data.encode() if isinstance(data, str) else bytes(data)
    call("PUT_FILE", filename=name, data=_base64.b64encode(data).decode(), to=to)


def list_files(prefix="", *, to=None):
    """The shared files whose names begin with a text, as dictionaries: filename, size, sha256, owner and more."""
    found, after = [], {}
    while True:
        page = call("LIST_FILES", prefix=prefix, limit=_PAGE_ENTRIES, to=to, **after)
        found += page["files"]
        if page["next"] is None:
            return found
        after = {"after": page["next"]}


def delete_file(name, *, to=None):
    """Removes a shared file; tells whether it was there."""
    return call("DELETE_FILE", filename=name, to=to)["deleted"]


# The allocator.


class Block:
    """Memory of the node's allocator, which lives as long as the task. `with` gives it back. Made by `allocate`."""

    __slots__ = ("address", "size")

    def __init__(self, address, size):
        self.address = address
        self.size = size

    def read(self, offset=0, length=None):
        """Bytes of the block; to its end when `length` is missing."""
        end = self.size if length is None else offset + length
        pieces = []
        while offset < end:
            piece = min(_PIECE_BYTES, end - offset)
            reply = call("READ_BLOCK", address=self.address, offset=offset, length=piece)
            pieces.append(_base64.b64decode(reply["data"]))
            offset += piece
        return b"".join(pieces)

    def write(self, data, offset=0):
        """Writes bytes into the block."""
        data = memoryview(data).cast("B")
        for start in range(0, len(data), _PIECE_BYTES):
            text = _base64.b64encode(data[start : start + _PIECE_BYTES]).decode()
            call("WRITE_BLOCK", address=self.address, offset=offset + start, data=text)

    def free(self):
        """Gives the block back."""
        call("DEALLOCATE_MEMORY", address=self.address)

    def __len__(self):
        return self.size

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.free()

    def __repr__(self):
        return f"Block(address={self.address}, size={self.size})"


def allocate(size, timeout=None):
    """Takes memory of the node's allocator: Block. Without room it waits until `timeout`, if that is given."""
    reply = call("ALLOCATE_MEMORY", size=size, **_given(timeout=timeout))
    return Block(reply["address"], reply.get("size", size))


# Tasks.


class Facts(dict):
    """What is known of a task; members are attributes as well."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def me():
    """Who this task is: pid, task_id, parent_pid, node, executed_by, submitter, priority and more."""
    facts = Facts(pid=None, parent_pid=None)
    facts.update(call("TASK_SELF"))
    del facts["type"]
    return facts


def progress(fraction, text=""):
    """Tells the submitter how far the task is, from 0 to 1, in an event `task.progress`. More than a few a second are
    left out."""
    call("TASK_PROGRESS", fraction=fraction, text=text)


class Child:
    """A task that this one has started. Made by `spawn`."""

    __slots__ = ("_child", "_reply", "pid")

    def __init__(self, reply):
        self._child = reply["child"]
        self._reply = None
        self.pid = self._child

    def wait(self, timeout=None):
        """Waits for the end, and returns all that is known of it, as a dictionary; raises TimedOut."""
        if self._reply is None:
            self._reply = call("TASK_JOIN", child=self._child, **_given(timeout=timeout))
        return self._reply

    def result(self, timeout=None):
        """What its function returned, when it has; raises TaskFailed when it failed, and TimedOut."""
        reply = self.wait(timeout)
        if not reply.get("error"):
            return reply["result"]
        error = TaskFailed(reply.get("code") or "task_failed", reply["error"])
        error.error_type, error.traceback, error.reply = reply.get("error_type"), reply.get("traceback"), reply
        raise error

    def cancel(self):
        """Ends it, if it has not ended: its result is an error with the code `cancelled`."""
        call("TASK_CANCEL", child=self._child)

    def __repr__(self):
        return f"Child({self.pid!r})"


def spawn(program, *args, function=None, **options):
    """Starts another task, on this peer or an idle one, and returns at once: Child.

    `program` is a function of this program, or the source of another one, whose `function` ("main") is called. A
    function is not sent itself: the whole program is, its module code runs once more, and then the function is called
    by its name. So it sees none of the values that this task has computed, only its arguments; they and its result are
    JSON values.

    Options are those of a CPU_TASK: runtime, image, priority, timeout, confidential, max_retries, estimated_time,
    cpu_limit_seconds, memory_limit_bytes, module_sha256 and others. Without `runtime` it is this task's own. A child
    goes on when this task returns, and is ended when this task is killed.
    """
    if callable(program):
        function = _name(program)
        program = _program()
    task = {"args": args, **_given(program=program, function=function, **options)}
    return Child(call("TASK_SPAWN", task=task))


def map(function, *iterables, **options):
    """`spawn` for each set of arguments, some hundred at a time, and their results in the same order. With the first
    failure the rest is cancelled."""
    children, results = _deque(), []
    try:
        for arguments in zip(*iterables):
            if len(children) >= _MAP_CHILDREN_MAX:
                results.append(children[0].result())
                children.popleft()
            children.append(spawn(function, *arguments, **options))
        while children:
            results.append(children[0].result())
            children.popleft()
    except BaseException:
        for child in children:
            try:
                child.cancel()
            except PotluckError:
                # It has ended, or this task has.
                pass
        raise
    return results


def _name(function):
    name = getattr(function, "__qualname__", "")
    if getattr(function, "__module__", None) != "__main__" or not name.isidentifier() or _program() is None:
        raise ValueError(f"{function!r} is no function at the top of this task's program; only those can be started")
    return name
