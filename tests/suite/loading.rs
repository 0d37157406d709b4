//! plugins.toml and the libraries that it names.
