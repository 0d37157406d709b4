;;| tries = "has data that lies beyond its memory"
;;| wasm = "task_failed"
(module
  (memory (export "memory") 1)
  (data (i32.const 0xfffffff0) "far away, and over the end")
  (func (export "_start")))
