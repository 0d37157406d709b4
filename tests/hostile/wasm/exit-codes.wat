;;| tries = "ends itself with a code that no process can have"
;;| wasm = ["task_failed: exit", "task_failed: stopped"]
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (call $exit (i32.const -1))))
