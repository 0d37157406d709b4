"""A tree of tasks: each starts its children, waits for them and adds up what they tell.

    main(depth=2, width=2)   how many tasks there were, and on which nodes how many of them ran

A task that waits for its children gives its place to them, so a tree of any depth runs on a node with one place.
`potluck ps` shows it while it grows.

    potluck cpu --file spawn_tree.py --args '[3, 2]'
"""

import potluck


def main(depth=2, width=2):
    nodes = {potluck.me().node: 1}
    tasks = 1
    if depth > 0:
        for below in potluck.map(main, [depth - 1] * width, [width] * width):
            tasks += below["tasks"]
            for node, count in below["nodes"].items():
                nodes[node] = nodes.get(node, 0) + count
    return {"tasks": tasks, "nodes": nodes}
