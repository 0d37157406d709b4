//! Who may do what: pools, encrypted connections, callers and access, from outside and from within.

mod access;
mod attacks;
mod audit;
mod callers;
mod identity;
mod interception;
mod joining;
mod membership;
mod network;
mod strangers;
mod transport;
