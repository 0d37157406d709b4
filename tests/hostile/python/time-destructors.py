#| tries = "has objects that make two others each time one of them is destroyed"
#| python = ["timeout", "memory_limit", "worker_died", "task_failed"]
#| sandbox = ["timeout", "memory_limit", "task_failed", "worker_died"]
#| limits = { timeout = 2 }


class Hydra:
    def __init__(self):
        self.circle = self

    def __del__(self):
        kept.append(Hydra())
        kept.append(Hydra())
        kept.pop(0)


kept = [Hydra()]


def main():
    import gc

    while True:
        kept.clear()
        gc.collect()
