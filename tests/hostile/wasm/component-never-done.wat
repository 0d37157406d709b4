;;| tries = "returns its result, and then never ends what comes after"
;;| wasm = "timeout"
;;| limits = { timeout = 1 }
(component
  (core module $code
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
    (func (export "run") (param i32 i32 i32 i32) (result i32)
      (i32.store (i32.const 4) (i32.const 16))
      (i32.store (i32.const 8) (i32.const 1))
      (i32.store8 (i32.const 16) (i32.const 0x31))
      (i32.const 0))
    (func (export "after") (param i32) (loop $forever (br $forever))))
  (core instance $guest (instantiate $code))
  (func (export "run") (param "function" string) (param "args-json" string) (result (result string (error string)))
    (canon lift (core func $guest "run") (memory (core memory $guest "memory")) (realloc (core func $guest "realloc")) (post-return (core func $guest "after")))))
