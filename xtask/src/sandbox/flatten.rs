//! The post-link step of an image: one core module in place of the dozen that componentize-py links at run time.
//!
//! An image as componentize-py makes it is a component of many core modules, one for each shared library of CPython, that
//! call each other through tables and find each other's places in globals. Wasmtime then has to set up a dozen instances
//! and to fill a table of 10,000 entries for every task, which takes longer than the task. Merged into one module, calls are direct,
//! the places are constants, and wasmtime fills the table only where it is used.
//!
//! The method: every import of a module is followed through the component's instances to the definition that is behind it;
//! then all definitions are written into one module, one after the other, with their indices shifted. What leads out of
//! the component (WASI) stays an import, and the result is wrapped into a component of the same world.

mod link;
mod merge;
mod parts;

use anyhow::{Context, Result};
use link::Linker;
use wit_component::{ComponentEncoder, DecodedWasm, StringEncoding, embed_component_metadata};
use wit_parser::WorldItem;

/// A component with one core module that does what `component` does.
pub(crate) fn flatten(component: &[u8]) -> Result<Vec<u8>> {
    let (mut resolve, world) = match wit_component::decode(component).context("the component's world cannot be read")? {
        DecodedWasm::Component(resolve, world) => (resolve, world),
        DecodedWasm::WitPackage(..) => anyhow::bail!("this is a package of interfaces, not a component"),
    };
    // What componentize-py called to take the snapshot is of no further use.
    resolve.worlds[world].exports.retain(|_, item| matches!(item, WorldItem::Function(_)));
    let parts = parts::read(component)?;
    let linker = Linker::new(&parts)?;
    let mut module = merge::merge(&linker, &merge::Names::of_world(&resolve, world))?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|mut encoder| encoder.encode())
        .context("the merged module does not fit the component's world")
}
