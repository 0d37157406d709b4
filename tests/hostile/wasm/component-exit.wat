;;| tries = "ends its instance by the host's own function"
;;| wasm = "worker_died"
(component
  (import "wasi:cli/exit@0.2.0" (instance $exit
    (export "exit" (func (param "status" (result))))))
  (core module $memory
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096)))
  (core instance $memory (instantiate $memory))
  (core func $exit (canon lower (func $exit "exit")))
  (core module $code
    (import "memory" "memory" (memory 1))
    (import "host" "exit" (func $exit (param i32)))
    (func (export "run") (param i32 i32 i32 i32) (result i32)
      (call $exit (i32.const 0))
      (unreachable)))
  (core instance $guest (instantiate $code
    (with "memory" (instance $memory))
    (with "host" (instance (export "exit" (func $exit))))))
  (func (export "run") (param "function" string) (param "args-json" string) (result (result string (error string)))
    (canon lift (core func $guest "run") (memory (core memory $memory "memory")) (realloc (core func $memory "realloc")))))
