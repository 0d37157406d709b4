;;| tries = "calls a function under a false type, and an empty entry of a table"
;;| wasm = "task_failed"
(module
  (memory (export "memory") 1)
  (type $pointer (func (param i64 i64 i64) (result i64)))
  (table 2 2 funcref)
  (elem (i32.const 0) $small)
  (func $small)
  (func (export "_start")
    (drop (call_indirect (type $pointer) (i64.const 1) (i64.const 2) (i64.const 3) (i32.const 0)))))
