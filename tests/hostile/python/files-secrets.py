#| tries = "reads the machine's and the node's secrets"
#| args = ["$data", "$canary", "$home"]
#| needs = ["landlock"]
#| python = "ok []"
#| sandbox = "ok []"

import os


def main(data, canary, home):
    reached = []
    paths = [
        "/etc/shadow",
        "/etc/gshadow",
        "/root/.bash_history",
        "/etc/ssh/ssh_host_ed25519_key",
        "/var/log",
        "/dev/mem",
        "/dev/kmsg",
        "/dev/vda",
        "/dev/sda",
        f"{data}/identity.key",
        f"{data}/node.json",
        data,
        canary,
        f"{canary}/secret.txt",
        home,
        f"{home}/.ssh",
        "/tmp",
        "/",
    ]
    for path in paths:
        for attempt in (lambda: os.listdir(path), lambda: open(path, "rb").read(1), lambda: os.scandir(path).__next__()):
            try:
                attempt()
            except (OSError, StopIteration):
                continue
            reached.append(path)
            break
    return reached
