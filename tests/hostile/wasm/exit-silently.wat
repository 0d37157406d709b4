;;| tries = "ends itself without a result, as if all were well"
;;| wasm = "result_unusable"
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (call $exit (i32.const 0))))
