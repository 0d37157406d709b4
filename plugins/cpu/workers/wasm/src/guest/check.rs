//! What a guest may look like. The compiler would take more, and time and memory without bound with it; these limits are
//! far above what compilers for WebAssembly make of 8 MiB.

use anyhow::{Result, bail};
use wasmparser::{Parser, Payload};

/// Functions of all core modules together.
const FUNCTIONS_MAX: u64 = 50_000;
/// One function's code: the compiler's memory grows faster than it.
const FUNCTION_BYTES_MAX: usize = 512 << 10;
/// Types, imports, exports, globals, elements, data and instances, each.
const ITEMS_MAX: u64 = 100_000;
/// Core modules and components within each other.
const DEPTH_MAX: usize = 16;
/// Core modules of a component.
const MODULES_MAX: usize = 32;

/// The two forms of WebAssembly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Module,
    Component,
}

/// Refuses what is no WebAssembly, or too large to be compiled for somebody else.
pub(super) fn check(bytes: &[u8]) -> Result<Form> {
    let mut form = None;
    let (mut functions, mut items, mut modules, mut depth) = (0_u64, 0_u64, 0, 0_usize);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| anyhow::anyhow!("this is not WebAssembly: {}", error.message()))? {
            Payload::Version { encoding, .. } => {
                form.get_or_insert(match encoding {
                    wasmparser::Encoding::Module => Form::Module,
                    wasmparser::Encoding::Component => Form::Component,
                });
            }
            Payload::FunctionSection(section) => functions += u64::from(section.count()),
            Payload::CodeSectionEntry(body) => {
                let length = body.range().len();
                if length > FUNCTION_BYTES_MAX {
                    bail!("a function has {length} bytes, more than the {FUNCTION_BYTES_MAX} that a guest's may have");
                }
            }
            Payload::TypeSection(section) => items += u64::from(section.count()),
            Payload::ImportSection(section) => items += u64::from(section.count()),
            Payload::ExportSection(section) => items += u64::from(section.count()),
            Payload::GlobalSection(section) => items += u64::from(section.count()),
            Payload::ElementSection(section) => items += u64::from(section.count()),
            Payload::DataSection(section) => items += u64::from(section.count()),
            Payload::ComponentTypeSection(section) => items += u64::from(section.count()),
            Payload::ComponentInstanceSection(section) => items += u64::from(section.count()),
            Payload::InstanceSection(section) => items += u64::from(section.count()),
            Payload::ModuleSection { .. } => {
                modules += 1;
                depth += 1;
            }
            Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
        if functions > FUNCTIONS_MAX {
            bail!("it has {functions} functions, more than the {FUNCTIONS_MAX} that a guest may have");
        }
        if items > ITEMS_MAX || modules > MODULES_MAX || depth > DEPTH_MAX {
            bail!("it has more types, globals, data or modules than a guest may have");
        }
    }
    match form {
        Some(form) => Ok(form),
        None => bail!("this is not WebAssembly: it is empty"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_told_apart_and_nonsense_is_refused() {
        assert_eq!(check(&wat::parse_str("(module)").unwrap()).unwrap(), Form::Module);
        assert_eq!(check(&wat::parse_str("(component (core module))").unwrap()).unwrap(), Form::Component);
        for nonsense in [&b""[..], b"\0asm", b"#!/bin/sh\necho", &[0xff; 100]] {
            assert!(check(nonsense).unwrap_err().to_string().contains("not WebAssembly"), "{nonsense:?}");
        }
    }

    #[test]
    fn a_bomb_for_the_compiler_is_refused() {
        let many = "(func)".repeat(FUNCTIONS_MAX as usize + 1);
        let error = check(&wat::parse_str(format!("(module {many})")).unwrap()).unwrap_err().to_string();
        assert!(error.contains("functions"), "{error}");
        let long = "(drop (i32.const 1))".repeat(FUNCTION_BYTES_MAX / 2);
        let error = check(&wat::parse_str(format!("(module (func {long}))")).unwrap()).unwrap_err().to_string();
        assert!(error.contains("bytes"), "{error}");
    }
}
