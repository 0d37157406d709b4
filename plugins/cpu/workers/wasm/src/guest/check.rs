//! What a guest may look like. The compiler would take more, and time and memory without bound with it. What compilers for
//! WebAssembly make of 8 MiB stays below these limits: CPython, numpy and their like have at most 300 variables, 10 loops
//! and 900 blocks within each other, and cost 6 to 13 s for 8 MiB of code.

use super::cost;
use anyhow::{Result, anyhow, bail};
use wasmparser::{Parser, Payload, ValidPayload, Validator, WasmFeatures};

/// Functions of all core modules together.
const FUNCTIONS_MAX: u64 = 50_000;
/// One function's code. The interpreter's loop of CPython has 180 KiB.
const FUNCTION_BYTES_MAX: usize = 256 << 10;
/// A function's variables, with parameters.
const LOCALS_MAX: u64 = 2_000;
/// A function's loops and blocks within each other.
const LOOPS_NESTED_MAX: usize = 64;
const BLOCKS_NESTED_MAX: usize = 4_000;
/// What compiling all functions may cost, as [`cost`] tells. Of what was made to take as long or as much as it can within
/// that, nothing takes more than 9 s on one processor or 600 MiB.
const COST_NS_MAX: u64 = 16_000_000_000;
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
    let form = check_sizes(bytes)?;
    check_functions(bytes)?;
    Ok(form)
}

/// Looks at the counts alone, so that nothing is done for what is too large anyway.
fn check_sizes(bytes: &[u8]) -> Result<Form> {
    let mut form = None;
    let (mut functions, mut items, mut modules, mut depth) = (0_u64, 0_u64, 0, 0_usize);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| anyhow!("this is not WebAssembly: {}", error.message()))? {
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
    form.ok_or_else(|| anyhow!("this is not WebAssembly: it is empty"))
}

/// Looks at what the functions do.
fn check_functions(bytes: &[u8]) -> Result<()> {
    // What the compiler does not know is for it to refuse.
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let invalid = |error: wasmparser::BinaryReaderError| anyhow!("this is not valid WebAssembly: {}", error.message());
    let mut nanoseconds = 0_u64;
    for payload in Parser::new(0).parse_all(bytes) {
        let valid = validator.payload(&payload.map_err(invalid)?).map_err(invalid)?;
        let ValidPayload::Func(function, body) = valid else { continue };
        let cost = cost::of(function, &body).map_err(invalid)?;
        if cost.locals > LOCALS_MAX {
            bail!("a function has {} variables, more than the {LOCALS_MAX} that a guest's may have", cost.locals);
        }
        if cost.loops_nested > LOOPS_NESTED_MAX || cost.blocks_nested > BLOCKS_NESTED_MAX {
            bail!(
                "a function has more than {LOOPS_NESTED_MAX} loops or {BLOCKS_NESTED_MAX} blocks within each other, which a guest's may not have"
            );
        }
        nanoseconds = nanoseconds.saturating_add(cost.nanoseconds);
        if nanoseconds > COST_NS_MAX {
            bail!(
                "it would take the compiler too long: its functions have too many branches, loops and values at once"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: String) -> String {
        check(&wat::parse_str(text).unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn both_forms_are_told_apart_and_nonsense_is_refused() {
        assert_eq!(check(&wat::parse_str("(module)").unwrap()).unwrap(), Form::Module);
        assert_eq!(check(&wat::parse_str("(component (core module))").unwrap()).unwrap(), Form::Component);
        for nonsense in [&b""[..], b"\0asm", b"#!/bin/sh\necho", &[0xff; 100]] {
            assert!(check(nonsense).unwrap_err().to_string().contains("not WebAssembly"), "{nonsense:?}");
        }
        assert!(refusal("(module (func i32.add))".to_owned()).contains("not valid WebAssembly"));
    }

    #[test]
    fn a_bomb_for_the_compiler_is_refused() {
        let many = "(func)".repeat(FUNCTIONS_MAX as usize + 1);
        assert!(refusal(format!("(module {many})")).contains("functions"));
        let long = "(drop (i32.const 1))".repeat(FUNCTION_BYTES_MAX / 2);
        assert!(refusal(format!("(module (func {long}))")).contains("bytes"));
        let locals = "i64 ".repeat(LOCALS_MAX as usize);
        assert!(refusal(format!("(module (func (param i64) (local {locals})))")).contains("variables"));
        for (block, most) in [("loop ", LOOPS_NESTED_MAX), ("block ", BLOCKS_NESTED_MAX)] {
            let nested = |count: usize| format!("(module (func {}{}))", block.repeat(count), "end ".repeat(count));
            assert!(check(&wat::parse_str(nested(most)).unwrap()).is_ok());
            assert!(refusal(nested(most + 1)).contains("within each other"));
        }
    }

    #[test]
    fn functions_that_cost_more_than_they_look_are_refused_also_in_a_component() {
        let locals = "i32 ".repeat(1_900);
        let branches = "(if (local.get 0) (then (local.set 1 (local.get 2))))".repeat(12_000);
        let bomb = format!("(module (func (local {locals}) (loop {branches} (br_if 0 (local.get 3)))))");
        assert!(refusal(bomb.clone()).contains("too long"));
        assert!(refusal(format!("(component (core {})", &bomb[1..])).contains("too long"));
        let small = format!("(func (local {}) {})", "i32 ".repeat(20), &branches[..branches.len() / 400]);
        assert!(check(&wat::parse_str(format!("(module {})", small.repeat(100))).unwrap()).is_ok());
        let loops = "(loop)".repeat(10_000);
        assert!(refusal(format!("(module (func {loops}))")).contains("too long"));
        let passed = "(loop (param i32 i32) (result i32 i32))".repeat(5_000);
        let text = format!("(module (func i32.const 1 i32.const 2 {passed} drop drop))");
        assert!(refusal(text).contains("too long"));
        let caught = "(call 0)".repeat(2_000);
        let text = format!("(module (func (local {locals}) (block (try_table (catch_all 0) {caught}))))");
        assert!(refusal(text).contains("too long"));
    }
}
