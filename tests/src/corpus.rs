//! The corpus of hostile programs in `tests/hostile`: what each is, what must become of it, and what must be the same
//! afterwards. How a file says so is written down in `tests/hostile/README.md`.

mod expectation;
mod guarded;
mod program;
mod table;

pub use expectation::{Expectation, Outcome};
pub use guarded::Guarded;
pub use program::{Places, Program, programs};
pub use table::{Row, Table};
