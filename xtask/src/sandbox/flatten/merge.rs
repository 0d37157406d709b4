//! Writes all definitions of the linked modules into one module.

use super::link::{Definition, Linker, function_type};
use super::parts::{Module, Space};
use anyhow::{Context, Result, anyhow, bail};
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use wasm_encoder::reencode::{Error, Reencode, RoundtripReencoder};
use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, ElementSection, Elements, EntityType, ExportKind, ExportSection,
    FunctionSection, GlobalSection, ImportSection, MemorySection, NameMap, NameSection, TableSection, TypeSection,
};
use wasmparser::{CompositeInnerType, DataKind, ElementItems, ElementKind, ValType};
use wit_parser::{Resolve, WorldId, WorldItem, WorldKey};

/// The names of the interfaces that the merged module may import from.
pub(super) struct Names {
    /// Name of an imported interface without patch version, to the name that the world uses.
    names: HashMap<String, String>,
    /// Functions that the world exports.
    exports: HashSet<String>,
}

impl Names {
    pub(super) fn of_world(resolve: &Resolve, world: WorldId) -> Names {
        let imports = resolve.worlds[world].imports.iter();
        let interfaces = imports.filter(|(_, item)| matches!(item, WorldItem::Interface { .. }));
        let names = interfaces.filter_map(|(key, _)| match key {
            WorldKey::Interface(id) => resolve.id_of(*id),
            WorldKey::Name(name) => Some(name.clone()),
        });
        let exports = resolve.worlds[world].exports.keys().filter_map(|key| match key {
            WorldKey::Name(name) => Some(name.clone()),
            WorldKey::Interface(_) => None,
        });
        Names { names: names.map(|name| (without_patch(&name).to_owned(), name)).collect(), exports: exports.collect() }
    }

    /// Libraries were built against different patch versions of WASI; the component imports each interface once.
    fn name(&self, module: &str) -> String {
        self.names.get(without_patch(module)).cloned().unwrap_or_else(|| module.to_owned())
    }
}

fn without_patch(name: &str) -> &str {
    match name.split_once('@') {
        Some((_, version)) if version.matches('.').count() == 2 => {
            name.rsplit_once('.').map_or(name, |(start, _)| start)
        }
        _ => name,
    }
}

/// Where each module's definitions begin in the merged module.
struct Layout {
    types: Vec<u32>,
    functions: Vec<u32>,
    globals: Vec<u32>,
    /// Functions from outside: interface, name, type.
    imports: Vec<(String, String, u32)>,
    import_numbers: HashMap<(String, String), u32>,
}

impl Layout {
    fn new(linker: &Linker<'_>, names: &Names) -> Result<Layout> {
        let count = linker.modules.len();
        let mut layout = Layout {
            types: vec![0; count],
            functions: vec![0; count],
            globals: vec![0; count],
            imports: Vec::new(),
            import_numbers: HashMap::new(),
        };
        let (mut types, mut globals) = (0, 0);
        for (number, module) in linker.merged() {
            layout.types[number] = types;
            layout.globals[number] = globals;
            types += module.types.len() as u32;
            globals += module.globals.len() as u32;
            for index in 0..module.imported(Space::Functions) {
                if linker.definition(Space::Functions, number, index)? == Definition::Outside {
                    let import = linker.import(Space::Functions, number, index);
                    let key = (names.name(import.module), import.name.to_owned());
                    let next = layout.imports.len() as u32;
                    if layout.import_numbers.try_insert_new(&key, next) {
                        layout.imports.push((key.0, key.1, layout.types[number] + function_type(import)?));
                    }
                }
            }
        }
        let mut functions = layout.imports.len() as u32;
        for (number, module) in linker.merged() {
            layout.functions[number] = functions;
            functions += module.functions.len() as u32;
        }
        Ok(layout)
    }

    /// The numbers that a module's own indices become.
    fn numbering(&self, linker: &Linker<'_>, names: &Names, number: usize) -> Result<Numbering> {
        let module = &linker.modules[number];
        let mut functions = Vec::new();
        for index in 0..module.imported(Space::Functions) {
            functions.push(match linker.function(number, index)? {
                Definition::Own { module, index } => self.functions[module] + index,
                Definition::Outside => {
                    let import = linker.import(Space::Functions, number, index);
                    let key = (names.name(import.module), import.name.to_owned());
                    *self.import_numbers.get(&key).context("an import that was not collected")?
                }
            });
        }
        functions.extend((0..module.functions.len() as u32).map(|index| self.functions[number] + index));
        let mut globals = Vec::new();
        for index in 0..module.imported(Space::Globals) {
            let Definition::Own { module, index } = linker.definition(Space::Globals, number, index)? else {
                bail!("module {number} imports a global from outside the component");
            };
            globals.push(self.globals[module] + index);
        }
        globals.extend((0..module.globals.len() as u32).map(|index| self.globals[number] + index));
        Ok(Numbering { first_type: self.types[number], functions, globals })
    }
}

trait InsertNew {
    /// Inserts if the key is new, and tells whether it was.
    fn try_insert_new(&mut self, key: &(String, String), value: u32) -> bool;
}

impl InsertNew for HashMap<(String, String), u32> {
    fn try_insert_new(&mut self, key: &(String, String), value: u32) -> bool {
        if self.contains_key(key) {
            return false;
        }
        self.insert(key.clone(), value);
        true
    }
}

/// Translates the indices in a module's code. There is one memory and one table.
struct Numbering {
    first_type: u32,
    functions: Vec<u32>,
    globals: Vec<u32>,
}

impl Reencode for Numbering {
    type Error = Infallible;

    fn type_index(&mut self, index: u32) -> Result<u32, Error<Infallible>> {
        Ok(self.first_type + index)
    }

    fn function_index(&mut self, index: u32) -> Result<u32, Error<Infallible>> {
        Ok(self.functions[index as usize])
    }

    fn global_index(&mut self, index: u32) -> Result<u32, Error<Infallible>> {
        Ok(self.globals[index as usize])
    }

    fn table_index(&mut self, _: u32) -> Result<u32, Error<Infallible>> {
        Ok(0)
    }

    fn memory_index(&mut self, _: u32) -> Result<u32, Error<Infallible>> {
        Ok(0)
    }
}

/// The merged module, validated.
pub(super) fn merge(linker: &Linker<'_>, names: &Names) -> Result<Vec<u8>> {
    let layout = Layout::new(linker, names)?;
    let mut sections = Sections::default();
    let mut plain = RoundtripReencoder;
    let base = &linker.modules[linker.base];
    let (Some(table), Some(memory)) = (base.tables.first(), base.memories.first()) else {
        bail!("the base module has no table or no memory");
    };
    sections.tables.table(plain.table_type(table.ty).map_err(encoding)?);
    sections.memories.memory(plain.memory_type(*memory).map_err(encoding)?);
    for (_, module) in linker.merged() {
        for kind in &module.types {
            match &kind.composite_type.inner {
                CompositeInnerType::Func(function) => {
                    sections.types.ty().func_type(&plain.func_type(function.clone()).map_err(encoding)?);
                }
                other => bail!("a type that cannot be merged: {other:?}"),
            }
        }
    }
    for (interface, name, kind) in &layout.imports {
        sections.imports.import(interface, name, EntityType::Function(*kind));
    }
    for (number, module) in linker.merged() {
        if module.has_start {
            bail!("module {number} has a start function");
        }
        let numbering = layout.numbering(linker, names, number)?;
        sections.add(linker, &layout, number, module, numbering)?;
    }
    sections.export(linker, &layout, &names.exports)?;
    let module = sections.finish();
    wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all())
        .validate_all(&module)
        .context("the merged module is not valid")?;
    Ok(module)
}

#[derive(Default)]
struct Sections {
    types: TypeSection,
    imports: ImportSection,
    functions: FunctionSection,
    tables: TableSection,
    memories: MemorySection,
    globals: GlobalSection,
    exports: ExportSection,
    elements: ElementSection,
    code: CodeSection,
    data: DataSection,
    names: NameMap,
}

impl Sections {
    fn add(
        &mut self,
        linker: &Linker<'_>,
        layout: &Layout,
        number: usize,
        module: &Module<'_>,
        mut numbering: Numbering,
    ) -> Result<()> {
        for kind in &module.functions {
            self.functions.function(layout.types[number] + kind);
        }
        for global in &module.globals {
            let kind = RoundtripReencoder.global_type(global.ty).map_err(encoding)?;
            let value = if global.ty.content_type == ValType::I32 {
                ConstExpr::i32_const(linker.constant(number, &global.init_expr)?)
            } else {
                RoundtripReencoder.const_expr(global.init_expr.clone()).map_err(encoding)?
            };
            self.globals.global(kind, &value);
        }
        for element in &module.elements {
            let (ElementKind::Active { offset_expr, .. }, ElementItems::Functions(functions)) =
                (&element.kind, &element.items)
            else {
                bail!("module {number} has elements of a kind that cannot be merged");
            };
            let functions = functions.clone().into_iter();
            let functions: Vec<u32> = functions
                .map(|function| function.map(|index| numbering.functions[index as usize]))
                .collect::<Result<_, _>>()?;
            if !functions.is_empty() {
                let offset = ConstExpr::i32_const(linker.constant(number, offset_expr)?);
                self.elements.active(None, &offset, Elements::Functions(functions.into()));
            }
        }
        for data in &module.data {
            let DataKind::Active { offset_expr, .. } = &data.kind else {
                bail!("module {number} has data that its code copies itself");
            };
            let offset = ConstExpr::i32_const(linker.constant(number, offset_expr)?);
            self.data.active(0, &offset, data.data.iter().copied());
        }
        for body in &module.bodies {
            numbering.parse_function_body(&mut self.code, body.clone()).map_err(encoding)?;
        }
        let imported = module.imported(Space::Functions);
        let mut own: Vec<_> = module.names.iter().filter(|(index, _)| *index >= imported).collect();
        own.sort_unstable();
        own.dedup_by_key(|(index, _)| *index);
        for (index, name) in own {
            self.names.append(layout.functions[number] + index - imported, name);
        }
        Ok(())
    }

    /// Exports what the component lifts, and what the component model needs beside it.
    fn export(&mut self, linker: &Linker<'_>, layout: &Layout, world: &HashSet<String>) -> Result<()> {
        self.exports.export("memory", ExportKind::Memory, 0);
        let mut exported = HashSet::new();
        for (name, definition) in linker.exports_used() {
            let Definition::Own { module, index } = definition else { continue };
            // The libraries use each other's functions by name as well; only these are the component's.
            let is_lifted = world.contains(name) || name.starts_with("cabi_post_");
            if is_lifted && exported.insert(name) {
                self.exports.export(name, ExportKind::Func, layout.functions[module] + index);
            }
        }
        // The innermost library's: it belongs to the interpreter, and allocates from its heap.
        let realloc = linker.merged().filter_map(|(number, module)| {
            let (_, index) = module.exports.get("cabi_realloc")?;
            Some((number, *index))
        });
        let (number, index) = realloc.last().context("no library exports cabi_realloc")?;
        let Definition::Own { module, index } = linker.function(number, index)? else {
            bail!("cabi_realloc comes from outside");
        };
        self.exports.export("cabi_realloc", ExportKind::Func, layout.functions[module] + index);
        Ok(())
    }

    fn finish(self) -> Vec<u8> {
        let mut names = NameSection::new();
        names.functions(&self.names);
        let mut module = wasm_encoder::Module::new();
        module
            .section(&self.types)
            .section(&self.imports)
            .section(&self.functions)
            .section(&self.tables)
            .section(&self.memories)
            .section(&self.globals)
            .section(&self.exports)
            .section(&self.elements)
            .section(&self.code)
            .section(&self.data)
            .section(&names);
        module.finish()
    }
}

fn encoding(error: Error<Infallible>) -> anyhow::Error {
    anyhow!("{error}")
}
