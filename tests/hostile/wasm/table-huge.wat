;;| tries = "wants a table with ten million entries"
;;| wasm = ["module_invalid", "memory_limit", "task_failed"]
(module
  (memory (export "memory") 1)
  (table 10000000 funcref)
  (func (export "_start")))
