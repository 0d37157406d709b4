//! The `potluck` program: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    potluck_host::commands::main()
}
