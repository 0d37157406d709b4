;;| tries = "throws an exception that nobody catches"
;;| wasm = "task_failed"
(module
  (memory (export "memory") 1)
  (tag $mine (param i64))
  (func (export "_start") (throw $mine (i64.const 7))))
