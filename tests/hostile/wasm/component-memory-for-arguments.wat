;;| tries = "says that there is memory for its arguments where there is none"
;;| wasm = "task_failed"
(component
  (core module $code
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0xfffffff0))
    (func (export "run") (param i32 i32 i32 i32) (result i32)
      (i32.const 0)))
  (core instance $guest (instantiate $code))
  (func (export "run") (param "function" string) (param "args-json" string) (result (result string (error string)))
    (canon lift (core func $guest "run") (memory (core memory $guest "memory")) (realloc (core func $guest "realloc")))))
