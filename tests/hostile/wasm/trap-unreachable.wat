;;| tries = "aborts"
;;| wasm = "task_failed"
(module
  (memory (export "memory") 1)
  (func (export "_start") unreachable))
