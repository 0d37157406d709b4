;;| tries = "aborts before its function is called"
;;| wasm = "task_failed"
(module
  (memory (export "memory") 1)
  (func $start unreachable)
  (start $start)
  (func (export "_start")))
