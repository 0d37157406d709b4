#| tries = "asks a database a question that has no end, in C code that never looks at Python's signals"
#| python = "timeout"
#| sandbox = ["timeout", "task_failed: sqlite3"]
#| limits = { timeout = 2 }

import sqlite3


def main():
    connection = sqlite3.connect(":memory:")
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    return connection.execute(endless).fetchone()
