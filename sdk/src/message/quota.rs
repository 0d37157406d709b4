//! Messages of the provider `quota`.
