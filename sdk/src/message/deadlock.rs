//! Messages of the provider `deadlock`.
