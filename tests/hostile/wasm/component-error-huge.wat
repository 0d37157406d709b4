;;| tries = "fails with a reason of 128 MiB"
;;| wasm = "task_failed: xxx"
;;| limits = { timeout = 20 }
(component
  (core module $code
    (memory (export "memory") 2050)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
    (func (export "run") (param i32 i32 i32 i32) (result i32)
      (i32.store8 (i32.const 0) (i32.const 1))
      (i32.store (i32.const 4) (i32.const 65536))
      (i32.store (i32.const 8) (i32.const 0x8000000))
      (memory.fill (i32.const 65536) (i32.const 0x78) (i32.const 0x8000000))
      (i32.const 0)))
  (core instance $guest (instantiate $code))
  (func (export "run") (param "function" string) (param "args-json" string) (result (result string (error string)))
    (canon lift (core func $guest "run") (memory (core memory $guest "memory")) (realloc (core func $guest "realloc")))))
