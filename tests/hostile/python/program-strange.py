#| tries = "is itself no text that a compiler expects: NUL, halves of characters, other encodings, marks of order"
#| program = { before = "\ufeff# coding: utf-7\n", repeat = "\u0000\u2028\u202e", times = 100, after = "\u000c" }
#| python = "task_failed"
#| sandbox = "task_failed"
