//! A harness that drives any provider through its real ABI table, with a fake host.
