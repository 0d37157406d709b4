;;| tries = "never has the memory ready that its arguments are put into"
;;| wasm = "timeout"
;;| limits = { timeout = 1 }
(component
  (core module $code
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (loop $forever (br $forever)) (unreachable))
    (func (export "run") (param i32 i32 i32 i32) (result i32)
      (i32.const 0)))
  (core instance $guest (instantiate $code))
  (func (export "run") (param "function" string) (param "args-json" string) (result (result string (error string)))
    (canon lift (core func $guest "run") (memory (core memory $guest "memory")) (realloc (core func $guest "realloc")))))
