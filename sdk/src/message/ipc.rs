//! Messages of the provider `ipc`.
