;;| tries = "calls itself for ever, as a component"
;;| wasm = "task_failed: stack"
(component
  (core module $code
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
    (func (export "run") (param i32 i32 i32 i32) (result i32)
      (i32.add (i32.const 1) (call $again (i32.const 7))))
    (func $again (param i32) (result i32) (i32.add (local.get 0) (call $again (local.get 0)))))
  (core instance $guest (instantiate $code))
  (func (export "run") (param "function" string) (param "args-json" string) (result (result string (error string)))
    (canon lift (core func $guest "run") (memory (core memory $guest "memory")) (realloc (core func $guest "realloc")))))
