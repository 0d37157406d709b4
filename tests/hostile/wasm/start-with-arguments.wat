;;| tries = "exports a function that wants arguments as the one that is called without"
;;| wasm = ["task_failed", "module_invalid"]
(module
  (memory (export "memory") 1)
  (func (export "_start") (param i64 i64) (result i64) (local.get 0)))
