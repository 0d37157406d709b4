;;| tries = "asks for as many random bytes as it gets at once, for ever"
;;| wasm = "timeout"
;;| limits = { timeout = 1 }
(component
  (import "wasi:random/random@0.2.0" (instance $random
    (export "get-random-bytes" (func (param "len" u64) (result (list u8))))
    (export "get-random-u64" (func (result u64)))))
  (core module $memory
    (memory (export "memory") 32)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096)))
  (core instance $memory (instantiate $memory))
  (core func $random (canon lower (func $random "get-random-bytes") (memory (core memory $memory "memory")) (realloc (core func $memory "realloc"))))
  (core func $number (canon lower (func $random "get-random-u64")))
  (core module $code
    (import "memory" "memory" (memory 32))
    (import "host" "random" (func $random (param i64 i32)))
    (import "host" "number" (func $number (result i64)))
    (func (export "run") (param i32 i32 i32 i32) (result i32)
      (loop $forever
        (drop (call $number))
        (call $random (i64.const 1000000) (i32.const 0))
        (br $forever))
      (unreachable)))
  (core instance $guest (instantiate $code
    (with "memory" (instance $memory))
    (with "host" (instance (export "random" (func $random)) (export "number" (func $number))))))
  (func (export "run") (param "function" string) (param "args-json" string) (result (result string (error string)))
    (canon lift (core func $guest "run") (memory (core memory $memory "memory")) (realloc (core func $memory "realloc")))))
