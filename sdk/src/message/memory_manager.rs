//! Messages of the provider `memory-manager`.
