//! Free blocks in order of their addresses, for first fit and next fit.
//!
//! A treap (a search tree by address that is a heap by random priorities, hence as deep as the logarithm of its size)
//! whose nodes know the largest block below them, so that a search never enters a part of the arena in vain.

use super::FreeIndex;
use std::hash::{BuildHasher, RandomState};

/// No node.
const NIL: u32 = u32::MAX;

struct Node {
    start: u32,
    size: u32,
    /// Largest size in the tree that begins here.
    largest: u32,
    slot: u32,
    left: u32,
    right: u32,
    priority: u32,
}

pub(super) struct ByAddress {
    nodes: Vec<Node>,
    vacant: Vec<u32>,
    root: u32,
    /// The nodes from the root to the last one that was looked at.
    path: Vec<u32>,
    random: u64,
    is_next_fit: bool,
}

impl ByAddress {
    pub(super) fn new(is_next_fit: bool) -> ByAddress {
        // Whoever allocates cannot know the priorities, so he cannot make the tree deep.
        let random = RandomState::new().hash_one(0_u8) | 1;
        ByAddress { nodes: Vec::new(), vacant: Vec::new(), root: NIL, path: Vec::new(), random, is_next_fit }
    }

    fn at(&self, node: u32) -> &Node {
        &self.nodes[node as usize]
    }

    fn at_mut(&mut self, node: u32) -> &mut Node {
        &mut self.nodes[node as usize]
    }

    fn largest_below(&self, node: u32) -> u32 {
        if node == NIL { 0 } else { self.at(node).largest }
    }

    fn update(&mut self, node: u32) {
        let Node { size, left, right, .. } = *self.at(node);
        self.at_mut(node).largest = size.max(self.largest_below(left)).max(self.largest_below(right));
    }

    fn update_path(&mut self) {
        while let Some(node) = self.path.pop() {
            self.update(node);
        }
    }

    /// Goes from the root to the node at `start`, which is the last of `path` afterwards.
    fn descend(&mut self, start: u32) -> u32 {
        self.path.clear();
        let mut node = self.root;
        while node != NIL {
            self.path.push(node);
            let Node { start: here, left, right, .. } = *self.at(node);
            match start.cmp(&here) {
                std::cmp::Ordering::Equal => break,
                std::cmp::Ordering::Less => node = left,
                std::cmp::Ordering::Greater => node = right,
            }
        }
        node
    }

    /// Puts `node` where the path has come to.
    fn link(&mut self, start: u32, node: u32) {
        match self.path.last() {
            None => self.root = node,
            Some(&parent) if start < self.at(parent).start => self.at_mut(parent).left = node,
            Some(&parent) => self.at_mut(parent).right = node,
        }
    }

    /// The nodes before `start`, and those from it on.
    fn split(&mut self, node: u32, start: u32) -> (u32, u32) {
        if node == NIL {
            return (NIL, NIL);
        }
        if self.at(node).start < start {
            let (left, right) = self.split(self.at(node).right, start);
            self.at_mut(node).right = left;
            self.update(node);
            (node, right)
        } else {
            let (left, right) = self.split(self.at(node).left, start);
            self.at_mut(node).left = right;
            self.update(node);
            (left, node)
        }
    }

    fn merge(&mut self, left: u32, right: u32) -> u32 {
        if left == NIL || right == NIL {
            return if left == NIL { right } else { left };
        }
        if self.at(left).priority >= self.at(right).priority {
            let merged = self.merge(self.at(left).right, right);
            self.at_mut(left).right = merged;
            self.update(left);
            left
        } else {
            let merged = self.merge(left, self.at(right).left);
            self.at_mut(right).left = merged;
            self.update(right);
            right
        }
    }

    /// xorshift64*: it only has to be unpredictable for who allocates.
    fn priority(&mut self) -> u32 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    /// The first block below `node` that is large enough.
    fn first(&self, mut node: u32, size: u32) -> Option<u32> {
        if self.largest_below(node) < size {
            return None;
        }
        loop {
            let here = self.at(node);
            if self.largest_below(here.left) >= size {
                node = here.left;
            } else if here.size >= size {
                return Some(here.slot);
            } else {
                node = here.right;
            }
        }
    }

    /// The first block that begins at `cursor` or behind it and is large enough.
    fn first_from(&self, size: u32, cursor: u32) -> Option<u32> {
        let mut node = self.root;
        // The last node on the way whose own block, or one to the right of it, will do.
        let mut candidate = NIL;
        while node != NIL && self.at(node).largest >= size {
            let here = self.at(node);
            if here.start < cursor {
                node = here.right;
            } else {
                if here.size >= size || self.largest_below(here.right) >= size {
                    candidate = node;
                }
                node = here.left;
            }
        }
        let here = (candidate != NIL).then(|| self.at(candidate))?;
        if here.size >= size { Some(here.slot) } else { self.first(here.right, size) }
    }
}

impl FreeIndex for ByAddress {
    fn find(&self, size: u32, cursor: u32) -> Option<u32> {
        let ahead = if self.is_next_fit { self.first_from(size, cursor) } else { None };
        ahead.or_else(|| self.first(self.root, size))
    }

    fn insert(&mut self, start: u32, size: u32, slot: u32) {
        let priority = self.priority();
        self.path.clear();
        let mut node = self.root;
        while node != NIL && self.at(node).priority >= priority {
            self.path.push(node);
            node = if start < self.at(node).start { self.at(node).left } else { self.at(node).right };
        }
        let (left, right) = self.split(node, start);
        let new = Node { start, size, largest: 0, slot, left, right, priority };
        let node = match self.vacant.pop() {
            Some(node) => {
                *self.at_mut(node) = new;
                node
            }
            None => {
                self.nodes.push(new);
                u32::try_from(self.nodes.len() - 1).unwrap_or(NIL)
            }
        };
        self.update(node);
        self.link(start, node);
        self.update_path();
    }

    fn remove(&mut self, start: u32, _size: u32) {
        let node = self.descend(start);
        if node == NIL {
            return;
        }
        self.path.pop();
        let merged = self.merge(self.at(node).left, self.at(node).right);
        self.link(start, merged);
        self.vacant.push(node);
        self.update_path();
    }

    fn change(&mut self, (start, _): (u32, u32), (new_start, new_size): (u32, u32)) {
        let node = self.descend(start);
        if node != NIL {
            let changed = self.at_mut(node);
            (changed.start, changed.size) = (new_start, new_size);
            self.update_path();
        }
    }

    fn largest(&self) -> u32 {
        self.largest_below(self.root)
    }

    fn count(&self) -> usize {
        self.nodes.len() - self.vacant.len()
    }
}
