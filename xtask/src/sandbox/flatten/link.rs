//! Finds the definition behind every import of a component's core modules.

use super::parts::{CoreInstance, CoreItem, Module, Parts, Space};
use anyhow::{Context, Result, bail};
use std::collections::HashMap;
use wasmparser::{ConstExpr, ElementItems, ElementKind, Import, Operator, TypeRef};

/// The table through which wit-component's helper modules pass functions that are defined later.
const HELPER_TABLE: &str = "$imports";
/// Trampolines that lead to trampolines, at most.
const TRAMPOLINES_MAX: usize = 8;

/// Something that a module refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Definition {
    /// A module's own, counted without its imports.
    Own { module: usize, index: u32 },
    /// It comes from outside the component.
    Outside,
}

/// A component whose imports can be followed.
pub(super) struct Linker<'a> {
    pub(super) modules: &'a [Module<'a>],
    parts: &'a Parts<'a>,
    /// The names that each module's imports come from, to instances.
    arguments: Vec<&'a HashMap<&'a str, usize>>,
    /// Whether a module goes into the merged one; the helpers that pass functions on do not.
    is_merged: Vec<bool>,
    /// The helper that puts functions into the table of the other one.
    filler: Option<usize>,
    /// The module that defines memory, table, and the trampolines between libraries.
    pub(super) base: usize,
    /// Functions of the base that only call through the table: to the place in it.
    trampolines: HashMap<u32, u32>,
    /// Places of the table, to the function that a module puts there, by that module's index.
    places: HashMap<u32, (usize, u32)>,
}

impl<'a> Linker<'a> {
    pub(super) fn new(parts: &'a Parts<'a>) -> Result<Linker<'a>> {
        let modules = &parts.modules;
        let mut arguments: Vec<Option<&HashMap<&str, usize>>> = vec![None; modules.len()];
        for instance in &parts.instances {
            if let CoreInstance::Instantiated { module, arguments: given } = instance
                && arguments.get_mut(*module).context("an instance of no module")?.replace(given).is_some()
            {
                bail!("core module {module} is instantiated twice, so it cannot be merged");
            }
        }
        let arguments = arguments.into_iter().collect::<Option<Vec<_>>>().context("a core module without instance")?;
        let fills = |module: &Module<'_>| module.imports.iter().flatten().any(|import| import.name == HELPER_TABLE);
        let is_merged =
            modules.iter().map(|module| !module.exports.contains_key(HELPER_TABLE) && !fills(module)).collect();
        let base = modules.iter().position(|module| !module.memories.is_empty()).context("no module has a memory")?;
        let filler = modules.iter().position(fills);
        let mut linker = Linker {
            modules,
            parts,
            arguments,
            is_merged,
            filler,
            base,
            trampolines: HashMap::new(),
            places: HashMap::new(),
        };
        linker.places = linker.find_places()?;
        linker.trampolines = linker.find_trampolines()?;
        Ok(linker)
    }

    /// The modules that are merged, with their numbers.
    pub(super) fn merged(&self) -> impl Iterator<Item = (usize, &'a Module<'a>)> + '_ {
        self.modules.iter().enumerate().filter(|(number, _)| self.is_merged[*number])
    }

    /// What a module means by an index.
    pub(super) fn definition(&self, space: Space, module: usize, index: u32) -> Result<Definition> {
        let imported = self.modules[module].imported(space);
        if index >= imported {
            let own = Definition::Own { module, index: index - imported };
            return Ok(if self.is_merged[module] { own } else { Definition::Outside });
        }
        let import = self.import(space, module, index);
        let instance = self.argument(module, import.module)?;
        self.export(space, instance, import.name)
    }

    /// As [`Linker::definition`] for a function, without detours through trampolines.
    pub(super) fn function(&self, module: usize, index: u32) -> Result<Definition> {
        let mut found = self.definition(Space::Functions, module, index)?;
        for _ in 0..TRAMPOLINES_MAX {
            let Definition::Own { module, index } = found else { break };
            let Some(place) = self.trampolines.get(&index).filter(|_| module == self.base) else { break };
            let &(target_module, target) = self.places.get(place).context("a trampoline to an empty place")?;
            match self.definition(Space::Functions, target_module, target)? {
                // What leads outside is called through the table: the trampoline has the signature for it.
                Definition::Outside => break,
                own => found = own,
            }
        }
        Ok(found)
    }

    pub(super) fn import(&self, space: Space, module: usize, index: u32) -> &Import<'a> {
        &self.modules[module].imports[space as usize][index as usize]
    }

    /// Every export of a core instance that the component uses itself, by name, functions only.
    pub(super) fn exports_used(&self) -> Vec<(&'a str, Definition)> {
        let mut used = Vec::new();
        for item in &self.parts.items[Space::Functions as usize] {
            if let CoreItem::Export { instance, name } = item
                && let Ok(definition) = self.export(Space::Functions, *instance, name)
            {
                used.push((*name, definition));
            }
        }
        used
    }

    /// The value of an offset or of an immutable global of type i32.
    pub(super) fn constant(&self, module: usize, expression: &ConstExpr<'a>) -> Result<i32> {
        let mut stack = Vec::new();
        for operator in Module::operators(expression)? {
            match operator {
                Operator::I32Const { value } => stack.push(value),
                Operator::GlobalGet { global_index } => {
                    let definition = self.definition(Space::Globals, module, global_index)?;
                    let Definition::Own { module, index } = definition else { bail!("a global from outside") };
                    let global = &self.modules[module].globals[index as usize];
                    if global.ty.mutable {
                        bail!("a constant expression uses a mutable global");
                    }
                    stack.push(self.constant(module, &global.init_expr)?);
                }
                Operator::I32Add => {
                    let (right, left) = (stack.pop(), stack.pop());
                    stack.push(left.zip(right).map(|(left, right)| left.wrapping_add(right)).context("too few")?);
                }
                Operator::End => {}
                other => bail!("a constant expression uses {other:?}"),
            }
        }
        stack.pop().context("a constant expression has no value")
    }

    fn argument(&self, module: usize, name: &str) -> Result<usize> {
        self.arguments[module].get(name).copied().with_context(|| format!("module {module} gets no instance {name}"))
    }

    fn export(&self, space: Space, instance: usize, name: &str) -> Result<Definition> {
        match &self.parts.instances[instance] {
            CoreInstance::Collected(items) => {
                let (_, index) = items.get(name).with_context(|| format!("an instance lacks {name}"))?;
                match &self.parts.items[space as usize][*index as usize] {
                    CoreItem::Canonical => Ok(Definition::Outside),
                    CoreItem::Export { instance, name } => self.export(space, *instance, name),
                }
            }
            CoreInstance::Instantiated { module, .. } if self.is_merged[*module] => {
                let exported = self.modules[*module].exports.get(name);
                let (_, index) = exported.with_context(|| format!("module {module} does not export {name}"))?;
                self.definition(space, *module, *index)
            }
            // The helper calls through its table; what the other helper puts there under this name is what is meant.
            CoreInstance::Instantiated { .. } => {
                let filler = self.filler.context("nothing fills the helper's table")?;
                let mut functions = self.modules[filler].imports[Space::Functions as usize].iter();
                let import =
                    functions.find(|import| import.name == name).context("the helper's table lacks an entry")?;
                self.export(space, self.argument(filler, import.module)?, name)
            }
        }
    }

    fn find_places(&self) -> Result<HashMap<u32, (usize, u32)>> {
        let mut places = HashMap::new();
        for (number, module) in self.merged() {
            for element in &module.elements {
                let (ElementKind::Active { offset_expr, .. }, ElementItems::Functions(functions)) =
                    (&element.kind, &element.items)
                else {
                    bail!("module {number} has elements of a kind that cannot be merged");
                };
                let first = self.constant(number, offset_expr)? as u32;
                for (place, function) in (first..).zip(functions.clone()) {
                    places.insert(place, (number, function?));
                }
            }
        }
        Ok(places)
    }

    /// Functions of the base that hand their parameters to whatever is at one place of the table.
    fn find_trampolines(&self) -> Result<HashMap<u32, u32>> {
        let mut trampolines = HashMap::new();
        for (number, body) in (0..).zip(&self.modules[self.base].bodies) {
            let operators: Vec<Operator<'_>> = body.get_operators_reader()?.into_iter().collect::<Result<_, _>>()?;
            if let [parameters @ .., Operator::I32Const { value }, Operator::CallIndirect { .. }, Operator::End] =
                operators.as_slice()
                && parameters.iter().all(|operator| matches!(operator, Operator::LocalGet { .. }))
            {
                trampolines.insert(number, *value as u32);
            }
        }
        Ok(trampolines)
    }
}

/// The type of an imported function, in its module's numbering.
pub(super) fn function_type(import: &Import<'_>) -> Result<u32> {
    match import.ty {
        TypeRef::Func(index) => Ok(index),
        other => bail!("{} is no function but {other:?}", import.name),
    }
}
