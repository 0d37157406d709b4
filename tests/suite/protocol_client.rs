//! The client of the original system.
