;;| tries = "returns a result that lies beyond its memory"
;;| wasm = "task_failed"
(component
  (core module $code
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
    (func (export "run") (param i32 i32 i32 i32) (result i32)
      (i32.store (i32.const 4) (i32.const 0xfffffff0))
      (i32.store (i32.const 8) (i32.const 0x7fffffff))
      (i32.const 0)))
  (core instance $guest (instantiate $code))
  (func (export "run") (param "function" string) (param "args-json" string) (result (result string (error string)))
    (canon lift (core func $guest "run") (memory (core memory $guest "memory")) (realloc (core func $guest "realloc")))))
