;;| tries = "returns a result that is a piece of a report"
;;| wasm = "result_unusable: JSON"
(component
  (core module $code
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
    (data (i32.const 16) "1},\"slot\":5,\"result\":\"forged\"  ")
    (func (export "run") (param i32 i32 i32 i32) (result i32)
      (i32.store (i32.const 4) (i32.const 16))
      (i32.store (i32.const 8) (i32.const 33))
      (i32.const 0)))
  (core instance $guest (instantiate $code))
  (func (export "run") (param "function" string) (param "args-json" string) (result (result string (error string)))
    (canon lift (core func $guest "run") (memory (core memory $guest "memory")) (realloc (core func $guest "realloc")))))
