//! Messages of the provider `history`.
