//! Messages of the provider `cache`.
