;;| tries = "calls the node with a message that is outside of its memory"
;;| wasm = "task_failed"
;;| limits = { timeout = 1 }
(component
  (import "potluck:guest/node@0.1.0" (instance $node
    (export "call" (func (param "message" string) (result (result string (error string)))))))
  (core module $memory
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096)))
  (core instance $memory (instantiate $memory))
  (core func $call (canon lower (func $node "call") (memory (core memory $memory "memory")) (realloc (core func $memory "realloc"))))
  (core module $code
    (import "memory" "memory" (memory 1))
    (import "host" "call" (func $call (param i32 i32 i32)))
    (func (export "run") (param i32 i32 i32 i32) (result i32)
      (loop $forever
        (call $call (i32.const 0) (i32.const 70000) (i32.const 64))
        (br $forever))
      (unreachable)))
  (core instance $guest (instantiate $code
    (with "memory" (instance $memory)) (with "host" (instance (export "call" (func $call))))))
  (func (export "run") (param "function" string) (param "args-json" string) (result (result string (error string)))
    (canon lift (core func $guest "run") (memory (core memory $memory "memory")) (realloc (core func $memory "realloc")))))
