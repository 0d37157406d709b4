//! Reads a component: its core modules, how they are instantiated, and what the component calls by which index.

use anyhow::{Result, bail};
use std::collections::HashMap;
use wasmparser::{
    CanonicalFunction, ComponentAlias, ConstExpr, Data, Element, ExternalKind, FunctionBody, Global, Import, Instance,
    KnownCustom, MemoryType, Name, Parser, Payload, SubType, Table, TypeRef,
};

/// The four index spaces of a core module that can be imported into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    Functions = 0,
    Tables = 1,
    Memories = 2,
    Globals = 3,
}

impl Space {
    pub(super) fn of(kind: ExternalKind) -> Result<Space> {
        Ok(match kind {
            ExternalKind::Func => Space::Functions,
            ExternalKind::Table => Space::Tables,
            ExternalKind::Memory => Space::Memories,
            ExternalKind::Global => Space::Globals,
            other => bail!("a core module exports something of an unknown kind: {other:?}"),
        })
    }

    fn of_import(import: &Import<'_>) -> Result<Space> {
        Ok(match import.ty {
            TypeRef::Func(_) => Space::Functions,
            TypeRef::Table(_) => Space::Tables,
            TypeRef::Memory(_) => Space::Memories,
            TypeRef::Global(_) => Space::Globals,
            other => bail!("a core module imports something of an unknown kind: {other:?}"),
        })
    }
}

/// A core module, section by section.
#[derive(Default)]
pub(super) struct Module<'a> {
    pub(super) types: Vec<SubType>,
    /// By index space, in the order of their indices.
    pub(super) imports: [Vec<Import<'a>>; 4],
    /// The type of each function that it defines.
    pub(super) functions: Vec<u32>,
    pub(super) tables: Vec<Table<'a>>,
    pub(super) memories: Vec<MemoryType>,
    pub(super) globals: Vec<Global<'a>>,
    pub(super) exports: HashMap<&'a str, (Space, u32)>,
    pub(super) elements: Vec<Element<'a>>,
    pub(super) bodies: Vec<FunctionBody<'a>>,
    pub(super) data: Vec<Data<'a>>,
    pub(super) has_start: bool,
    /// Names of functions, by index.
    pub(super) names: Vec<(u32, &'a str)>,
}

impl<'a> Module<'a> {
    pub(super) fn imported(&self, space: Space) -> u32 {
        self.imports[space as usize].len() as u32
    }

    /// The value of a constant expression that refers to nothing, if it is that simple.
    pub(super) fn operators(expression: &ConstExpr<'a>) -> Result<Vec<wasmparser::Operator<'a>>> {
        Ok(expression.get_operators_reader().into_iter().collect::<Result<_, _>>()?)
    }
}

/// How a core instance came to be.
pub(super) enum CoreInstance<'a> {
    /// From a module, with an instance for each name that the module imports from.
    Instantiated { module: usize, arguments: HashMap<&'a str, usize> },
    /// A collection of things that the component already has.
    Collected(HashMap<&'a str, (Space, u32)>),
}

/// What stands behind an index of the component's own core index spaces.
pub(super) enum CoreItem<'a> {
    /// An export of a core instance.
    Export { instance: usize, name: &'a str },
    /// A function of the component model, such as a lowered import.
    Canonical,
}

/// A component, as far as it concerns core modules.
#[derive(Default)]
pub(super) struct Parts<'a> {
    pub(super) modules: Vec<Module<'a>>,
    pub(super) instances: Vec<CoreInstance<'a>>,
    pub(super) items: [Vec<CoreItem<'a>>; 4],
}

/// Reads the outermost component.
pub(super) fn read(component: &[u8]) -> Result<Parts<'_>> {
    let mut parts = Parts::default();
    // Nested modules are read by themselves, nested components not at all.
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload?;
        match payload {
            Payload::ModuleSection { ref unchecked_range, .. } if depth == 0 => {
                parts.modules.push(read_module(&component[unchecked_range.clone()])?);
                depth += 1;
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = usize::saturating_sub(depth, 1),
            _ if depth > 0 => {}
            Payload::InstanceSection(section) => {
                for instance in section {
                    parts.instances.push(read_instance(instance?)?);
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    if let ComponentAlias::CoreInstanceExport { kind, instance_index, name } = alias? {
                        let item = CoreItem::Export { instance: instance_index as usize, name };
                        parts.items[Space::of(kind)? as usize].push(item);
                    }
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    // A lifted function is one of the component's, all others are core functions.
                    if !matches!(function?, CanonicalFunction::Lift { .. }) {
                        parts.items[Space::Functions as usize].push(CoreItem::Canonical);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(parts)
}

fn read_instance(instance: Instance<'_>) -> Result<CoreInstance<'_>> {
    Ok(match instance {
        Instance::Instantiate { module_index, args } => CoreInstance::Instantiated {
            module: module_index as usize,
            arguments: args.iter().map(|argument| (argument.name, argument.index as usize)).collect(),
        },
        Instance::FromExports(exports) => {
            let mut items = HashMap::new();
            for export in &exports {
                items.insert(export.name, (Space::of(export.kind)?, export.index));
            }
            CoreInstance::Collected(items)
        }
    })
}

fn read_module(bytes: &[u8]) -> Result<Module<'_>> {
    let mut module = Module::default();
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::TypeSection(section) => {
                for group in section {
                    module.types.extend(group?.into_types());
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    module.imports[Space::of_import(&import)? as usize].push(import);
                }
            }
            Payload::FunctionSection(section) => module.functions = section.into_iter().collect::<Result<_, _>>()?,
            Payload::TableSection(section) => module.tables = section.into_iter().collect::<Result<_, _>>()?,
            Payload::MemorySection(section) => module.memories = section.into_iter().collect::<Result<_, _>>()?,
            Payload::GlobalSection(section) => module.globals = section.into_iter().collect::<Result<_, _>>()?,
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    module.exports.insert(export.name, (Space::of(export.kind)?, export.index));
                }
            }
            Payload::ElementSection(section) => module.elements = section.into_iter().collect::<Result<_, _>>()?,
            Payload::CodeSectionEntry(body) => module.bodies.push(body),
            Payload::DataSection(section) => module.data = section.into_iter().collect::<Result<_, _>>()?,
            Payload::StartSection { .. } => module.has_start = true,
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(names) = section.as_known() {
                    for name in names {
                        if let Ok(Name::Function(functions)) = name {
                            for naming in functions {
                                let naming = naming?;
                                module.names.push((naming.index, naming.name));
                            }
                        }
                    }
                }
            }
            _ => {}
        }
    }
    Ok(module)
}
