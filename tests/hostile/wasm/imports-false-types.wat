;;| tries = "imports functions of WASI under types that they do not have"
;;| wasm = "module_invalid"
(module
  (import "wasi_snapshot_preview1" "fd_write" (func (param i64 i64 i64 i64 i64) (result i64)))
  (import "wasi_snapshot_preview1" "proc_exit" (func (result f64)))
  (memory (export "memory") 1)
  (func (export "_start")))
