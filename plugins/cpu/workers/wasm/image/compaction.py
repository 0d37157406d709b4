"""Makes the heap of the snapshot one block.

Years of imports leave holes all over the heap, and a new instance would put a task's objects into them: each hole lies in a
page that is shared with all other instances, and writing to it costs a page fault and a copy. So the holes are filled
before the snapshot is taken; a task then allocates from the end of the heap, page after page.
"""

import gc

# What is larger than this comes from fresh pages anyway.
LARGEST_HOLE_BYTES = 64 << 10
# So many blocks in a row from the end of the heap mean that no hole of that size is left.
MISSES_MAX = 64
# More than all holes together; a stop for an allocator that behaves in another way.
FILLED_BYTES_MAX = 48 << 20


def fill_holes() -> list:
    gc.collect()
    blocks = []
    overhead = bytes.__basicsize__
    end = 0
    filled = 0
    size = LARGEST_HOLE_BYTES
    while size > overhead:
        misses = 0
        while misses < MISSES_MAX and filled < FILLED_BYTES_MAX:
            # Not from a constant: each must be an object of its own.
            block = bytes(size - overhead)
            blocks.append(block)
            filled += size
            if id(block) > end:
                end = id(block)
                misses += 1
            else:
                misses = 0
        size = size // 2 if size > 1024 else size - 16
    gc.collect()
    gc.freeze()
    return blocks
