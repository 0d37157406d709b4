//! `potluck alloc`, `free`, `memmap` and `allocator`: the node's arena.

use super::{Node, count};
use crate::cli::{AllocArgs, AllocatorCommand, FreeArgs, MemmapArgs};
use crate::commands::pages::Pages;
use crate::commands::session::parse;
use crate::output::table::Table;
use crate::output::{self, units};
use potluck_sdk::message::memory_manager::{
    AllocateMemory, AllocatorSet, DeallocateMemory, Fragmentation, MapLine, MemoryAllocated, MemoryDeallocated,
    MemoryMap, MemoryMapped, SetAllocator,
};
use std::process::ExitCode;

/// Blocks of one answer of the node.
const PAGE: usize = 1000;
/// Most answers that one map is made of: beyond this many blocks a cell of the map says little.
const PAGES_MAX: usize = 200;
/// Cells of the map: so many lines of so many characters.
const MAP_LINES: usize = 8;
/// See [`MAP_LINES`].
const LINE_CELLS: usize = 64;

/// Takes a block.
pub(super) async fn alloc(node: &Node, args: AllocArgs) -> anyhow::Result<ExitCode> {
    let size = Some(i64::try_from(args.size).unwrap_or(i64::MAX));
    let message = AllocateMemory { pid: Some(args.pid), size, timeout: args.timeout, wait: args.wait };
    let reply = match args.wait || args.timeout.is_some() {
        true => node.wait(&message, args.timeout).await?,
        false => node.ask(&message).await?,
    };
    node.print(&reply, || {
        let done: MemoryAllocated = parse(&reply)?;
        let taken =
            if done.block_size > done.size { format!(", {} with its end", done.block_size) } else { String::new() };
        Ok(format!("{}: {} bytes at address {}{taken}", done.pid, done.size, done.address))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Gives blocks back.
pub(super) async fn free(node: &Node, args: FreeArgs) -> anyhow::Result<ExitCode> {
    let reply = node.ask(&DeallocateMemory { pid: Some(args.pid), address: args.address }).await?;
    node.print(&reply, || {
        let done: MemoryDeallocated = parse(&reply)?;
        let blocks = count(done.blocks, "block", "blocks");
        Ok(format!("{}: {blocks} given back, {}", done.pid, units::bytes(done.bytes)))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Draws the arena.
pub(super) async fn memmap(node: &Node, args: MemmapArgs) -> anyhow::Result<ExitCode> {
    let mut request = MemoryMap { limit: Some(PAGE), from: None };
    let mut blocks: Vec<MapLine> = Vec::new();
    let mut last = MemoryMapped::default();
    let mut pages = Pages::new("blocks", node.json());
    for _ in 0..PAGES_MAX {
        let reply = node.ask(&request).await?;
        last = parse(&reply)?;
        pages.add(&reply.json);
        let is_empty = last.blocks.is_empty();
        blocks.append(&mut last.blocks);
        request.from = last.next.filter(|_| !is_empty && !pages.is_full());
        if request.from.is_none() {
            break;
        }
    }
    if node.json() {
        pages.finish()?;
        return Ok(ExitCode::SUCCESS);
    }
    output::print_line(&summary(&last))?;
    output::print_line("")?;
    output::print(&map(&blocks, last.fragmentation.total_memory))?;
    output::print_line("")?;
    let mut table = Table::new(&["ADDRESS", "SIZE", "STATE", "PROCESS"]);
    for block in blocks.iter().take(args.limit) {
        let process = block.pid.clone().unwrap_or_else(|| "-".to_owned());
        table.row([block.address.to_string(), units::bytes(block.size), block.state.clone(), process]);
    }
    table.align_right([0, 1]);
    table.print("")?;
    let hidden = last.block_count.saturating_sub(args.limit.min(blocks.len()));
    if hidden > 0 {
        output::note(&format!("{} more; --limit shows them", count(hidden as u64, "block", "blocks")));
    }
    Ok(ExitCode::SUCCESS)
}

fn summary(map: &MemoryMapped) -> String {
    let Fragmentation { total_memory, allocated_memory, largest_free_block, free_blocks_count, .. } = map.fragmentation;
    format!(
        "{}: {} of {} used; {} free, the largest {}; fragmentation {:.1} %; {} waiting",
        map.algorithm,
        units::bytes(allocated_memory),
        units::bytes(total_memory),
        count(free_blocks_count as u64, "block", "blocks"),
        units::bytes(largest_free_block),
        map.fragmentation.fragmentation_percentage,
        map.waiting
    )
}

/// The arena in lines of cells: each stands for as many bytes as the other.
fn map(blocks: &[MapLine], total: u64) -> String {
    let cells = MAP_LINES * LINE_CELLS;
    let cell_bytes = total.div_ceil(cells as u64).max(1);
    let mut used = vec![0_u64; cells];
    for block in blocks.iter().filter(|block| block.state != "free") {
        let end = block.address.saturating_add(block.size).min(cell_bytes * cells as u64);
        let mut at = block.address;
        while at < end {
            let cell = at / cell_bytes;
            let next = ((cell + 1) * cell_bytes).min(end);
            if let Some(sum) = usize::try_from(cell).ok().and_then(|cell| used.get_mut(cell)) {
                *sum += next - at;
            }
            at = next;
        }
    }
    let mut text = String::new();
    for (line, sums) in used.chunks(LINE_CELLS).enumerate() {
        let cells: String = sums
            .iter()
            .map(|sum| match *sum {
                0 => '.',
                full if full >= cell_bytes => '#',
                _ => '+',
            })
            .collect();
        let address = line as u64 * LINE_CELLS as u64 * cell_bytes;
        text += &format!("{address:>14}  {cells}\n");
    }
    text + &format!("                # used  + used in part  . free; {} each\n", units::bytes(cell_bytes))
}

/// Shows or chooses the algorithm.
pub(super) async fn allocator(node: &Node, command: Option<AllocatorCommand>) -> anyhow::Result<ExitCode> {
    match command.unwrap_or(AllocatorCommand::Show) {
        AllocatorCommand::Show => {
            let reply = node.ask(&MemoryMap { limit: Some(1), from: None }).await?;
            node.print(&reply, || Ok(summary(&parse::<MemoryMapped>(&reply)?)))?;
        }
        AllocatorCommand::Set { algorithm } => {
            let reply = node.ask(&SetAllocator { algorithm: Some(algorithm) }).await?;
            node.print(&reply, || {
                let done: AllocatorSet = parse(&reply)?;
                Ok(format!("Allocator: {} (was {})", done.algorithm, done.previous))
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(address: u64, size: u64, state: &str) -> MapLine {
        MapLine { address, size, state: state.to_owned(), pid: None }
    }

    #[test]
    fn the_map_shows_where_memory_is_used() {
        let blocks = [
            block(0, 100, "used"),
            block(100, 128, "free"),
            block(228, 28, "cleaning"),
            block(256, 512 * 128 - 256, "free"),
        ];
        let text = map(&blocks, 512 * 128);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), MAP_LINES + 1);
        assert_eq!(lines[0], format!("{:>14}  ++{}", 0, ".".repeat(62)));
        assert_eq!(lines[1], format!("{:>14}  {}", 64 * 128, ".".repeat(64)));
        assert!(map(&[block(0, 512 * 128, "used")], 512 * 128).starts_with(&format!("{:>14}  {}", 0, "#".repeat(64))));
    }

    #[test]
    fn an_answer_that_makes_no_sense_does_no_harm() {
        map(&[block(u64::MAX, u64::MAX, "used"), block(0, u64::MAX, "used")], 0);
        map(&[block(5, u64::MAX, "used")], 1 << 40);
    }
}
