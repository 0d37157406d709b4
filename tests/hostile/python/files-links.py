#| tries = "leads out of its folder by symbolic links, hard links, renames, and descriptors of folders"
#| args = ["$canary"]
#| needs = ["landlock"]
#| python = "ok []"
#| sandbox = "ok []"

import os


def main(canary):
    secret = f"{canary}/secret.txt"
    reached = []

    def attempt(name, function):
        try:
            function()
            reached.append(name)
        except Exception:
            pass

    def through_symbolic_link():
        os.symlink(secret, "link")
        open("link").read()

    def through_symbolic_folder():
        os.symlink(canary, "folder")
        open("folder/secret.txt").read()

    def through_magic_link():
        os.symlink("/proc/self/root" + secret, "magic")
        open("magic").read()

    def through_hard_link():
        os.link(secret, "hard")
        open("hard").read()

    def through_folder_descriptor():
        folder = os.open(canary, os.O_PATH | os.O_DIRECTORY)
        os.open("secret.txt", os.O_RDONLY, dir_fd=folder)

    def through_parent():
        up = "../" * 40
        open(up + secret.lstrip("/")).read()

    def by_moving_it_here():
        os.rename(secret, "mine")
        open("mine").read()

    def by_copying_in_the_kernel():
        source = os.open(secret, os.O_RDONLY)
        os.sendfile(1, source, 0, 100)

    def by_moving_out():
        open("outbound", "w").close()
        os.rename("outbound", f"{canary}/planted.txt")

    def by_linking_out():
        open("outbound", "w").close()
        os.link("outbound", f"{canary}/planted.txt")

    def by_deleting():
        os.unlink(f"{canary}/witness.txt")

    for function in list(locals().values()):
        if callable(function) and function is not attempt:
            attempt(function.__name__, function)
    return reached
