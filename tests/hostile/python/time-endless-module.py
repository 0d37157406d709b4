#| tries = "never gets to its function: its body does not end"
#| python = "timeout"
#| sandbox = "timeout"
#| limits = { timeout = 1 }

while True:
    pass
