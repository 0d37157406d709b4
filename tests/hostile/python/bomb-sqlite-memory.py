#| tries = "keeps blobs of a gigabyte in a database, opens files as databases, and loads libraries into it"
#| python = "ok []"
#| sandbox = ["ok []", "memory_limit", "task_failed: sqlite3"]
#| limits = { timeout = 20 }

import sqlite3


def main():
    reached = []
    for name, path, question in (
        ("blob", ":memory:", "SELECT zeroblob(1000000000) || zeroblob(1000000000)"),
        ("shadow", "/etc/shadow", "SELECT 1"),
        ("attach", ":memory:", "ATTACH '/etc/hostile.db' AS x; CREATE TABLE x.t(a)"),
        ("extension", ":memory:", "SELECT load_extension('/lib/x86_64-linux-gnu/libc.so.6')"),
        ("outside", ":memory:", "VACUUM INTO '/tmp/potluck-hostile.db'"),
    ):
        try:
            connection = sqlite3.connect(path)
            connection.executescript(question) if ";" in question else connection.execute(question).fetchone()
            if name != "shadow":
                reached.append(name)
        except (sqlite3.Error, MemoryError, OverflowError):
            pass
    return reached
